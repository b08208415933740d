"""Definitions: the admin UI writes them to Postgres, and the projector copies them to Redis."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from rotary.events import Id, Timestamp
from rotary.policy import Policy

SCOPE = "telesales_api_access"
"""The scope a token needs to read the API and to run campaigns."""
READ_SCOPE = "caller_id_read"
"""The scope that opens the read API and nothing else, such as a token in a browser needs."""
PICK_SCOPE = "caller_id_pick"
"""The scope a token needs to pick caller IDs. A token may have several scopes."""
MANAGE_SCOPE = "manage_caller_ids"
"""The scope a token needs to manage caller IDs, groups, tokens and webhooks of its customer."""
SCOPES = (SCOPE, READ_SCOPE, PICK_SCOPE, MANAGE_SCOPE)
"""The scopes that services of this version check. Other scopes grant nothing."""

RotationStrategy = Literal["round_robin", "least_used", "cap_based", "weighted", "sticky_lead", "random"]
Status = Literal["active", "disabled"]
Carrier = Literal["viettel", "mobifone", "vinaphone", "vietnamobile", "landline", "other"]
CARRIER_LABELS: dict[Carrier, str] = {
    "viettel": "Viettel",
    "mobifone": "MobiFone",
    "vinaphone": "VinaPhone",
    "vietnamobile": "Vietnamobile",
    "landline": "Landline",
    "other": "Other",
}

Weight = Annotated[int, Meta(ge=1)]
DailyCap = Annotated[int, Meta(ge=1)]


class MemberDefinition(Struct, frozen=True, array_like=True, gc=False):
    """A caller ID as a member of one group: all but `weight`, which is the membership's, are the caller ID's.

    The last three are the rotation engine's alone. `activated_ms` is UTC, null for one that needs no warm-up.
    """

    id: Id
    number: str
    display_name: str | None
    carrier: Carrier
    status: Status
    trunk_name: str | None
    daily_cap: DailyCap
    weight: Weight
    hourly_cap: Annotated[int, Meta(ge=1)] | None = None
    min_gap_seconds: Annotated[int, Meta(ge=1)] | None = None
    activated_ms: int | None = None


class GroupDefinition(Struct, frozen=True, array_like=True, gc=False):
    """A group with its customer's time zone and policy: the document `{customer}:group:<id>`.

    `members` ascend by id. `created_at` is an aware UTC datetime. `timezone` is an IANA name. The policy is complete:
    fields that the customer does not override have their defaults.
    """

    id: Id
    name: str
    description: str | None
    rotation_strategy: RotationStrategy
    sticky_enabled: bool
    status: Status
    created_at: Timestamp
    timezone: str
    policy: Policy
    members: tuple[MemberDefinition, ...]


class GroupSummary(Struct, frozen=True, array_like=True):
    """A group without its members: one entry of the document `{customer}:groups`, which ascends by id."""

    id: Id
    name: str
    description: str | None
    rotation_strategy: RotationStrategy
    sticky_enabled: bool
    status: Status
    caller_ids_count: int
    created_at: Timestamp


class CustomerDefinition(Struct, frozen=True):
    """All definitions of one customer: its groups, and the ids of all its caller IDs. Both ascend by id."""

    id: Id
    policy: Policy
    groups: list[GroupDefinition]
    caller_ids: list[int]


class TokenDefinition(Struct, frozen=True, array_like=True):
    """A bearer token's document, stored under the SHA-256 of the whole token. A revoked token has null.

    `rate_limit_per_minute` is null for unlimited, and `expires_at` is null for never.
    """

    id: Id
    customer_id: Id
    scopes: tuple[str, ...]
    rate_limit_per_minute: int | None
    expires_at: Timestamp | None


def summary(group: GroupDefinition) -> GroupSummary:
    """The summary of a group. `caller_ids_count` counts the members with status active."""
    return GroupSummary(
        group.id,
        group.name,
        group.description,
        group.rotation_strategy,
        group.sticky_enabled,
        group.status,
        sum(member.status == "active" for member in group.members),
        group.created_at,
    )
