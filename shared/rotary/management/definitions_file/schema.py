"""Definitions as a file: what `import` reads and `export` writes.

A field that is not given keeps its value, or gets the table's default where the row is new. Caller IDs and groups that
a file does not name stay as they are; a group's `members`, where given, are all its members.
"""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from rotary.definitions import Carrier, RotationStrategy, Status
from rotary.events import Id, Timestamp
from rotary.policy import Policy

# Migration 0003 says the same of the columns.
_PLAIN = r"\A[^\x00-\x1f\x7f-\x9f]*\Z"
Name = Annotated[str, Meta(min_length=1, max_length=150, pattern=_PLAIN)]
Number = Annotated[str, Meta(pattern=r"\A[+]?[0-9]{3,20}\Z")]
Description = Annotated[str, Meta(max_length=500)]
DisplayName = Annotated[str, Meta(max_length=100, pattern=_PLAIN)]
TrunkName = Annotated[str, Meta(max_length=255, pattern=_PLAIN)]
Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class CallerIdEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A caller ID, known by its number. A new one needs its carrier."""

    id: Id | UnsetType = UNSET
    number: Number
    display_name: DisplayName | UnsetType | None = UNSET
    carrier: Carrier | UnsetType = UNSET
    status: Status | UnsetType = UNSET
    trunk_name: TrunkName | UnsetType | None = UNSET
    daily_cap: Count | UnsetType = UNSET


class MemberEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A member of a group, known by its number."""

    number: Number
    weight: Count | UnsetType = UNSET


class GroupEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group, known by its name. A new one needs its rotation strategy. A member without a weight is its number."""

    id: Id | UnsetType = UNSET
    name: Name
    description: Description | UnsetType | None = UNSET
    rotation_strategy: RotationStrategy | UnsetType = UNSET
    sticky_enabled: bool | UnsetType = UNSET
    status: Status | UnsetType = UNSET
    created_at: Timestamp | UnsetType = UNSET
    members: list[MemberEntry | Number] | UnsetType = UNSET


class CustomerEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A customer, known by its id where given, else by its name."""

    id: Id | UnsetType = UNSET
    name: Name | UnsetType = UNSET
    timezone: str | UnsetType = UNSET
    policy: Policy | UnsetType | None = UNSET
    caller_ids: list[CallerIdEntry] = []
    groups: list[GroupEntry] = []


class Definitions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    customers: list[CustomerEntry]


def given(entry: Struct, *leave: str) -> dict[str, object]:
    """The fields of an entry that are given, without those to leave out."""
    fields = {name: getattr(entry, name) for name in entry.__struct_fields__ if name not in leave}
    return {name: value for name, value in fields.items() if value is not UNSET}


def members_of(group: GroupEntry) -> list[MemberEntry]:
    """The members a group is given; none when it does not say."""
    members = [] if group.members is UNSET else group.members
    return [MemberEntry(number=member) if isinstance(member, str) else member for member in members]
