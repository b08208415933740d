"""What is asked for and what is picked."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

Carrier = Literal["viettel", "mobifone", "vinaphone", "vietnamobile", "landline", "other"]


class PickRequest(Struct, frozen=True, omit_defaults=True):
    """One pick of a batch. Every field is optional.

    `lead_id` keeps its number if the group is sticky. Caller IDs of `carrier` are preferred, then those whose number
    begins with `prefix` or with most of it. Caller IDs in `exclude` are never picked.
    """

    lead_id: str | None = None
    carrier: Carrier | None = None
    prefix: str | None = None
    exclude: Sequence[int] = ()


class PickedCallerId(Struct, kw_only=True):
    """A caller ID, reserved for one call until `expires_at`."""

    id: str
    """The pick's id. Publish it with the call: `call_placed(…, pick_id=pick.id)`."""
    group_id: int
    caller_id_id: int
    """Rotary's id of the number, for `call_placed`."""
    number: str
    """The number to show, as it is stored."""
    display_name: str | None = None
    carrier: str
    trunk_name: str | None = None
    reason: str
    """The strategy that chose it, or `sticky`."""
    expires_at: Annotated[datetime, Meta(tz=True)]
    """Place the call before. Then the reservation ends, unless the call was published."""
