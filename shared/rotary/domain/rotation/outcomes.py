"""What is asked of the rotation engine, and what it answers. Times are UTC milliseconds."""

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct

from rotary.definitions import Carrier
from rotary.events import Id

MAX_PICKS = 500
"""Picks in one request."""
MAX_EXCLUDED = 100
MAX_LEAD = 200
MAX_PREFIX = 16

LeadId = Annotated[str, Meta(min_length=1, max_length=MAX_LEAD)]
Reason = Literal["sticky", "round_robin", "least_used", "cap_based", "weighted", "random"]
"""`sticky`, or the strategy that chose; a lead's first pick in a group of `sticky_lead` is `least_used`."""
Refusal = Literal["cooldown", "quota_exceeded", "hourly_cap", "min_gap", "disabled", "excluded"]
"""Why a member can't be picked. Each member has one reason: disabled, else the first of this order that holds."""


class PickRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """One pick. `prefix` is compared with numbers as they are stored, character by character."""

    lead_id: LeadId | None = None
    carrier: Carrier | None = None
    prefix: Annotated[str, Meta(min_length=1, max_length=MAX_PREFIX)] | None = None
    exclude: Annotated[tuple[Id, ...], Meta(max_length=MAX_EXCLUDED)] = ()


class Picked(Struct, frozen=True):
    """A caller ID, reserved for one call until `expires_at_ms`."""

    id: str
    group_id: int
    caller_id_id: int
    number: str
    display_name: str | None
    carrier: Carrier
    trunk_name: str | None
    reason: Reason
    expires_at_ms: int


class NothingEligible(Struct, frozen=True):
    """No member can be picked. `reasons` counts the members by why; reasons that hold for none are left out.

    Nothing becomes eligible before `next_eligible_at_ms` unless somebody changes a definition, clears a cooldown or
    releases a pick. None: not at any known time, as when every member is disabled.
    """

    reasons: Mapping[Refusal, int]
    next_eligible_at_ms: int | None


Outcome = Picked | NothingEligible
