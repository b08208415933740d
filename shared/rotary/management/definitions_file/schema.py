"""The contents of a definitions file: what `read` returns and `export` writes.

A field that is absent keeps its stored value, or takes the table's default in a new row. Caller IDs and groups that the
file does not name stay unchanged. A group's `members`, if present, are its complete list of members.
"""

from msgspec import UNSET, Struct, UnsetType, field

from rotary.events import Id, Timestamp
from rotary.management.fields import CallerIdFields, Count, CustomerFields, GroupFields, Name, Number


class CallerIdEntry(CallerIdFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A caller ID, identified by its id if given, else by its number.

    A new one without a carrier gets the one that its number suggests.
    """

    id: Id | UnsetType = UNSET
    number: Number


class MemberEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A member of a group, identified by its number."""

    number: Number
    weight: Count | UnsetType = UNSET


class GroupEntry(GroupFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group, identified by its id if given, else by its name. A new one needs its rotation strategy.

    A member without a weight may be written as its number alone.
    """

    id: Id | UnsetType = UNSET
    name: Name
    created_at: Timestamp | UnsetType = UNSET
    members: list[MemberEntry | Number] | UnsetType = UNSET


class CustomerEntry(CustomerFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A customer, identified by its id if given, else by its name."""

    id: Id | UnsetType = UNSET
    caller_ids: list[CallerIdEntry] = field(default_factory=list)
    groups: list[GroupEntry] = field(default_factory=list)


class Definitions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole file."""

    customers: list[CustomerEntry]


def members_of(group: GroupEntry) -> list[MemberEntry]:
    """The members that a group lists; none if it has no list."""
    members = [] if group.members is UNSET else group.members
    return [MemberEntry(number=member) if isinstance(member, str) else member for member in members]
