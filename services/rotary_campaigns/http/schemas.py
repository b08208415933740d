"""The bodies of the answers: these very types encode them and generate the OpenAPI document."""

from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from msgspec import Meta, Raw, Struct

from rotary.definitions import Carrier, RotationStrategy, Status
from rotary.domain.campaigns import CampaignStatus, DialerMode, TimeWindow
from rotary.domain.transitions import WebhookEvent
from rotary.events import Id, Timestamp
from rotary.management.audit import Action, Entity
from rotary.management.fields import Count
from rotary.management.imports import ImportCount, ImportMistake, ImportStatus
from rotary.policy import Policy

S = TypeVar("S", bound=Struct)
_Number0 = Annotated[int, Meta(ge=0)]


class Campaign(Struct, frozen=True):
    """A campaign."""

    id: Id
    name: str
    description: str | None
    dialer_mode: DialerMode
    caller_id_group_id: Id | None
    ring_timeout_sec: int
    preview_window_sec: int
    priority: int
    max_attempts: int
    pdpl_enforce: bool
    abandon_rate_limit_pct: float
    time_window: TimeWindow | None
    status: CampaignStatus
    created_at: Timestamp
    updated_at: Timestamp


class CallerId(Struct, frozen=True):
    """A caller ID."""

    id: Id
    number: str
    display_name: str | None
    carrier: Carrier
    status: Status
    trunk_name: str | None
    daily_cap: Count
    hourly_cap: Count | None
    min_gap_seconds: Count | None
    activated_at: Timestamp | None
    groups: list[Id]


class Group(Struct, frozen=True):
    """A group of caller IDs."""

    id: Id
    name: str
    description: str | None
    rotation_strategy: RotationStrategy
    sticky_enabled: bool
    status: Status
    caller_ids_count: _Number0
    created_at: Timestamp


class Member(Struct, frozen=True):
    """A member of a group."""

    caller_id_id: Id
    number: str
    weight: Count


class MemberSync(Struct, frozen=True):
    """The members of a group, and what a sync changed: ids of caller IDs."""

    members: list[Member]
    added: list[Id]
    reweighted: list[Id]
    removed: list[Id]


class Token(Struct, frozen=True):
    """A bearer token, without the secret."""

    id: Id
    name: str
    scopes: list[str]
    rate_limit_per_minute: Count | None
    created_at: Timestamp
    expires_at: Timestamp | None
    revoked_at: Timestamp | None


class NewTokenShown(Token, frozen=True):
    """A bearer token with its secret, which is shown this once."""

    token: str


class CustomerShown(Struct, frozen=True):
    """Your customer record."""

    id: Id
    name: str
    timezone: str
    policy: Policy | None


class AuditEntry(Struct, frozen=True):
    """One change of your definitions."""

    id: Id
    at: Timestamp
    actor: str
    database_user: str
    entity: Entity
    entity_id: Id | None
    action: Action
    before: Annotated[Raw | None, Meta(extra_json_schema={"type": ["object", "null"]})]
    after: Annotated[Raw | None, Meta(extra_json_schema={"type": ["object", "null"]})]


class Import(Struct, frozen=True):
    """A bulk import. `errors` holds the first hundred of `error_count` mistakes."""

    id: Id
    status: ImportStatus
    format: Literal["csv", "yaml"]
    dry_run: bool
    rows_total: _Number0
    rows_done: _Number0
    changes: list[ImportCount]
    error_count: _Number0
    errors: list[ImportMistake]
    created_at: Timestamp
    finished_at: Timestamp | None


class ImportChange(Struct, frozen=True):
    """One change that an import made, or would have made. `name` is a number, or a name."""

    action: Literal["create", "update", "add", "reweight", "remove"]
    what: str
    name: str
    fields: list[str]


class Webhook(Struct, frozen=True):
    """A webhook, without its secret."""

    id: Id
    url: str
    events: list[WebhookEvent]
    status: Status
    created_at: Timestamp


class WebhookShown(Webhook, frozen=True):
    """A webhook with its secret, which is shown this once."""

    secret: str


class Attempt(Struct, frozen=True):
    """One attempt: the receiver's HTTP status, or why there is none."""

    at: Timestamp
    status: int | None
    error: str | None
    milliseconds: _Number0


class Delivery(Struct, frozen=True):
    """Something that a webhook was told, or is to be told."""

    id: str
    event: str
    status: Literal["pending", "delivered", "failed"]
    attempts: list[Attempt]
    created_at: Timestamp
    next_attempt_at: Timestamp | None
    finished_at: Timestamp | None


def shown(kind: type[S], row: object, **more: Any) -> S:
    """A stored row as the body has it: times at second precision. Any: fields are of all types."""
    names = [name for name in kind.__struct_fields__ if name not in more]
    return kind(**{name: _second(getattr(row, name)) for name in names}, **more)


def _second(value: object) -> object:
    return value.replace(microsecond=0) if isinstance(value, datetime) else value
