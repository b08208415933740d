"""The fields of a definition: types, lengths and patterns. The tables' constraints state the same rules in SQL."""

from functools import cache
from typing import Annotated, Literal, TypeVar
from zoneinfo import available_timezones

from msgspec import UNSET, Meta, Struct, UnsetType

from rotary.definitions import Carrier, RotationStrategy, Status
from rotary.domain.campaigns import DialerMode, TimeWindow, time_window_problems
from rotary.domain.transitions import WebhookEvent
from rotary.events import Id, Timestamp
from rotary.management.errors import InvalidError, Violation
from rotary.policy import Policy

_PLAIN = r"\A[^\x00-\x1f\x7f-\x9f]*\Z"
Name = Annotated[str, Meta(min_length=1, max_length=150, pattern=_PLAIN)]
Number = Annotated[str, Meta(pattern=r"\A[+]?[0-9]{3,20}\Z")]
Description = Annotated[str, Meta(max_length=500, pattern=r"\A[^\x00]*\Z")]
Search = Annotated[str, Meta(max_length=200, pattern=r"\A[^\x00]*\Z")]
DisplayName = Annotated[str, Meta(max_length=100, pattern=_PLAIN)]
TrunkName = Annotated[str, Meta(max_length=255, pattern=_PLAIN)]
Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Gap = Annotated[int, Meta(ge=1, le=86_400)]

NOT_A_NUMBER = "is not a phone number: expected 3 to 20 digits, with or without a leading +"
NOT_PLAIN = "contains a line break or another control character"


class CustomerFields(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A customer's own fields. UNSET keeps the stored value, or takes the table's default in a new row."""

    name: Name | UnsetType = UNSET
    timezone: str | UnsetType = UNSET
    policy: Policy | UnsetType | None = UNSET


class NewCustomer(CustomerFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A customer to create. `id` may be given."""

    id: Id | UnsetType = UNSET
    name: Name


class CallerIdFields(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A caller ID's own fields. UNSET keeps the stored value, or takes the table's default in a new row."""

    number: Number | UnsetType = UNSET
    display_name: DisplayName | UnsetType | None = UNSET
    carrier: Carrier | UnsetType = UNSET
    status: Status | UnsetType = UNSET
    trunk_name: TrunkName | UnsetType | None = UNSET
    daily_cap: Count | UnsetType = UNSET
    hourly_cap: Count | UnsetType | None = UNSET
    min_gap_seconds: Gap | UnsetType | None = UNSET
    activated_at: Timestamp | UnsetType | None = UNSET


class NewCallerId(CallerIdFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A caller ID to create. Without a carrier it gets the one that its number suggests."""

    number: Number


class GroupFields(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group's own fields. UNSET keeps the stored value, or takes the table's default in a new row."""

    name: Name | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    rotation_strategy: RotationStrategy | UnsetType = UNSET
    sticky_enabled: bool | UnsetType = UNSET
    status: Status | UnsetType = UNSET


class NewGroup(GroupFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group to create."""

    name: Name
    rotation_strategy: RotationStrategy


class NewToken(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token to create. `rate_limit_per_minute` is None for unlimited, `expires_at` None for never."""

    name: Name
    scopes: list[str] | UnsetType = UNSET
    rate_limit_per_minute: Count | UnsetType | None = UNSET
    expires_at: Timestamp | None = None


class CampaignFields(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A campaign's own fields. UNSET keeps the stored value, or takes the table's default in a new row."""

    name: Name | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    dialer_mode: DialerMode | UnsetType = UNSET
    caller_id_group_id: Id | UnsetType | None = UNSET
    ring_timeout_sec: Annotated[int, Meta(ge=5, le=120)] | UnsetType = UNSET
    preview_window_sec: Annotated[int, Meta(ge=0, le=60)] | UnsetType = UNSET
    priority: Annotated[int, Meta(ge=0, le=1000)] | UnsetType = UNSET
    max_attempts: Annotated[int, Meta(ge=1, le=20)] | UnsetType = UNSET
    pdpl_enforce: bool | UnsetType = UNSET
    abandon_rate_limit_pct: Annotated[float, Meta(ge=0, le=10)] | UnsetType = UNSET
    time_window: TimeWindow | UnsetType | None = UNSET


class NewCampaign(CampaignFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A campaign to create. It begins as a draft."""

    name: Name
    dialer_mode: DialerMode


class ClearFields(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a cooldown is ended."""

    reason: Annotated[str, Meta(min_length=1, max_length=200, pattern=_PLAIN)] | None = None


Role = Literal["viewer", "operator", "admin"]
"""What a user of the console may do for a customer. Each may do what those before it may."""
UserName = Annotated[
    str,
    Meta(
        pattern=r"\A[a-z0-9][a-z0-9._@+-]{0,149}\Z",
        description="up to 150 of a-z 0-9 . _ @ + - beginning with a letter or digit",
    ),
]


class NewUser(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user of the console to create."""

    name: UserName
    display_name: DisplayName | None = None


Url = Annotated[str, Meta(min_length=9, max_length=2000, pattern=r"\Ahttps://[\x21-\x7e]+\Z")]


class WebhookFields(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A webhook's own fields. UNSET keeps the stored value, or takes the table's default in a new row."""

    url: Url | UnsetType = UNSET
    events: Annotated[list[WebhookEvent], Meta(min_length=1, max_length=20)] | UnsetType = UNSET
    status: Status | UnsetType = UNSET


class NewWebhook(WebhookFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A webhook to create."""

    url: Url
    events: Annotated[list[WebhookEvent], Meta(min_length=1, max_length=20)]


S = TypeVar("S", bound=Struct)


def given(fields: Struct, *excluded: str) -> dict[str, object]:
    """The fields that are not UNSET, by name, without the excluded ones."""
    values = {name: getattr(fields, name) for name in fields.__struct_fields__ if name not in excluded}
    return {name: value for name, value in values.items() if value is not UNSET}


@cache
def _timezones() -> set[str]:
    """All names, found once: it takes a walk through hundreds of files."""
    return available_timezones()


def timezone_problem(timezone: str | UnsetType) -> str | None:
    """Why this is not a time zone of ours; None if it is.

    On a machine without a time zone database only PostgreSQL checks the name.
    """
    known = _timezones()
    if timezone is UNSET or not known or timezone in known:
        return None
    return f'"{timezone}" is not an IANA time zone: expected a name such as Asia/Ho_Chi_Minh or UTC'


def check_timezone(timezone: str | UnsetType) -> None:
    """Raises InvalidError unless it is a time zone or UNSET."""
    if problem := timezone_problem(timezone):
        raise InvalidError(Violation("timezone", problem))


def check_time_window(window: TimeWindow | UnsetType | None) -> None:
    """Raises InvalidError for a day whose spans end before they begin, or overlap."""
    if isinstance(window, TimeWindow) and (problems := time_window_problems(window)):
        raise InvalidError(*(Violation(f"time_window.{day}", problem) for day, problem in problems))
