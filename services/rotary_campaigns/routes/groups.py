"""Groups of caller IDs, and their members."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from rotary.definitions import MANAGE_SCOPE
from rotary.events import Id
from rotary.management import groups as model
from rotary.management import members
from rotary.management.errors import InvalidError, Violation
from rotary.management.fields import Count, GroupFields, NewGroup
from rotary.management.pages import PageNumber, PerPage
from rotary.management.rows import Target
from rotary.postgres.connection import Connection
from rotary_campaigns.http import operations
from rotary_campaigns.http.operations import Call, Reply, Section
from rotary_campaigns.http.rows import creates, deletes, reads, searches, switches, updates
from rotary_campaigns.http.schemas import Group, Member, MemberSync

MAX_MEMBERS = 100_000
_SECTION = Section("/api/management/caller-id-groups", "Groups", MANAGE_SCOPE, "Pool not found.")


class GroupQuery(model.GroupFilter, frozen=True, forbid_unknown_fields=True):
    """Which groups, and which part of the list."""

    page: PageNumber = 1
    per_page: PerPage = 50


class NewMember(Struct, frozen=True, forbid_unknown_fields=True):
    """A member that a group is to have. Without a weight it keeps the one that it has; a new one gets 1."""

    caller_id_id: Id
    weight: Count | UnsetType = UNSET


class NewMembers(Struct, frozen=True, forbid_unknown_fields=True):
    """All members that a group is to have."""

    members: Annotated[list[NewMember], Meta(max_length=MAX_MEMBERS)]


# What a change returns has neither the version nor the count that an answer shows: both read the row.


async def _create(connection: Connection, customer_id: int, fields: NewGroup) -> model.Group:
    created = await model.create_group(connection, customer_id, fields)
    return await model.read_group_row(connection, created.id, customer_id)


async def _update(connection: Connection, target: Target, fields: GroupFields) -> model.Group:
    await model.update_group(connection, target, fields)
    return await model.read_group_row(connection, target.id, target.owner)


async def read_members(call: Call) -> Reply:
    """All members of a group."""
    found = await members.read_members(call.connection, call.row_id, call.customer_id)
    return Reply(_members(found), found.digest)


async def sync_members(call: Call) -> Reply:
    """Makes these its only members."""
    weights: dict[int, int | None] = {}
    for index, member in enumerate(call.body.members):
        if member.caller_id_id in weights:
            raise InvalidError(Violation(f"members[{index}].caller_id_id", "It is in the list twice."))
        weights[member.caller_id_id] = None if member.weight is UNSET else member.weight
    digests = None if call.if_match is None else frozenset(tag.strip('"') for tag in call.if_match)
    changes = await members.sync_members(call.connection, call.row_id, weights, owner=call.customer_id, digests=digests)
    found = await members.read_members(call.connection, call.row_id, call.customer_id)
    return Reply(MemberSync(_members(found), changes.added, changes.reweighted, changes.removed), found.digest)


def _members(found: members.Members) -> list[Member]:
    return [Member(one.caller_id, one.number, one.weight) for one in found.members]


RESOURCES = (
    _SECTION.resource(
        "groups",
        "",
        operations.page(
            name="listGroups",
            summary="List or search your groups",
            description="Ascending by id.",
            handler=searches(Group, model.find_groups),
            query=GroupQuery,
            answer=Group,
        ),
        operations.create(
            name="createGroup",
            summary="Create a group",
            description="It has no members until you sync some.",
            handler=creates(_SECTION, Group, _create),
            body=NewGroup,
            answer=Group,
        ),
    ),
    _SECTION.resource(
        "group",
        "/{group_id}",
        operations.read(
            name="getGroup", summary="Read a group", handler=reads(Group, model.read_group_row), answer=Group
        ),
        operations.update(
            name="updateGroup",
            summary="Change a group",
            description="Fields that are absent keep their value. Members have a path of their own.",
            handler=updates(Group, _update),
            body=GroupFields,
            answer=Group,
            failures=("Conflict",),
        ),
        operations.delete(
            name="deleteGroup",
            summary="Delete a group",
            description="Its caller IDs remain. While an active or paused campaign uses it: 409.",
            handler=deletes(model.delete_group),
            failures=("Conflict",),
        ),
    ),
    *switches(
        _SECTION,
        "group",
        "/{group_id}",
        "group",
        Group,
        enable=updates(Group, _update, GroupFields(status="active")),
        disable=updates(Group, _update, GroupFields(status="disabled")),
    ),
    _SECTION.resource(
        "group_members",
        "/{group_id}/members",
        operations.read(
            name="listMembers",
            summary="Read a group's members",
            description="All of them, ascending by caller ID.",
            handler=read_members,
            answer=list[Member],
        ),
        operations.update(
            name="syncMembers",
            summary="Sync a group's members",
            description="The group has exactly these members afterwards, in one step.",
            handler=sync_members,
            body=NewMembers,
            answer=MemberSync,
            max_body_bytes=8 * 2**20,
        ),
    ),
)
