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
from rotary_campaigns.http.operations import Call, Operation, Reply, Resource
from rotary_campaigns.http.schemas import Group, Member, MemberSync, shown

PATH = "/api/management/caller-id-groups"
MAX_MEMBERS = 100_000
_TAG = "Groups"
_MISSING = "Pool not found."


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


async def list_groups(call: Call) -> Reply:
    """A page of the customer's groups."""
    page = await model.find_groups(call.connection, call.customer_id, call.query, call.query)
    return Reply(page.map(lambda row: shown(Group, row)))


async def create_group(call: Call) -> Reply:
    """A new group without members."""
    created = await model.create_group(call.connection, call.customer_id, call.body)
    return await _read(call, created.id, is_new=True)


async def read_group(call: Call) -> Reply:
    """One group."""
    return await _read(call, call.row_id)


async def update_group(call: Call) -> Reply:
    """Changes the given fields."""
    await model.update_group(call.connection, call.target, call.body)
    return await _read(call, call.row_id)


async def enable(call: Call) -> Reply:
    """Makes it active."""
    await model.update_group(call.connection, call.target, GroupFields(status="active"))
    return await _read(call, call.row_id)


async def disable(call: Call) -> Reply:
    """Makes it disabled."""
    await model.update_group(call.connection, call.target, GroupFields(status="disabled"))
    return await _read(call, call.row_id)


async def delete_group(call: Call) -> Reply:
    """Deletes it."""
    await model.delete_group(call.connection, call.target)
    return Reply()


async def _read(call: Call, group_id: int, *, is_new: bool = False) -> Reply:
    row = await model.read_group_row(call.connection, group_id, call.customer_id)
    return Reply(shown(Group, row), row.version, f"{PATH}/{row.id}" if is_new else "")


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
    Resource(
        "groups",
        PATH,
        _TAG,
        MANAGE_SCOPE,
        _MISSING,
        (
            Operation(
                method="GET",
                name="listGroups",
                summary="List or search your groups",
                description="Ascending by id.",
                handler=list_groups,
                query=GroupQuery,
                answer=Group,
                is_page=True,
            ),
            Operation(
                method="POST",
                name="createGroup",
                summary="Create a group",
                description="It has no members until you sync some.",
                handler=create_group,
                body=NewGroup,
                answer=Group,
                status=201,
                is_idempotent=True,
            ),
        ),
    ),
    Resource(
        "group",
        PATH + "/{group_id}",
        _TAG,
        MANAGE_SCOPE,
        _MISSING,
        (
            Operation(method="GET", name="getGroup", summary="Read a group", handler=read_group, answer=Group),
            Operation(
                method="PUT",
                name="updateGroup",
                summary="Change a group",
                description="Fields that are absent keep their value. Members have a path of their own.",
                handler=update_group,
                body=GroupFields,
                answer=Group,
                precondition="required",
                failures=("Conflict",),
            ),
            Operation(
                method="DELETE",
                name="deleteGroup",
                summary="Delete a group",
                description="Its caller IDs remain. While an active or paused campaign uses it: 409.",
                handler=delete_group,
                status=204,
                precondition="optional",
                failures=("Conflict",),
            ),
        ),
    ),
    *(
        Resource(
            f"group_{verb}",
            PATH + "/{group_id}/" + verb,
            _TAG,
            MANAGE_SCOPE,
            _MISSING,
            (
                Operation(
                    method="POST",
                    name=f"{verb}Group",
                    summary=f"{verb.capitalize()} a group",
                    description="Has the same answer when it is repeated.",
                    handler=handler,
                    answer=Group,
                    precondition="optional",
                ),
            ),
        )
        for verb, handler in (("enable", enable), ("disable", disable))
    ),
    Resource(
        "group_members",
        PATH + "/{group_id}/members",
        _TAG,
        MANAGE_SCOPE,
        _MISSING,
        (
            Operation(
                method="GET",
                name="listMembers",
                summary="Read a group's members",
                description="All of them, ascending by caller ID.",
                handler=read_members,
                answer=list[Member],
            ),
            Operation(
                method="PUT",
                name="syncMembers",
                summary="Sync a group's members",
                description="The group has exactly these members afterwards, in one step.",
                handler=sync_members,
                body=NewMembers,
                answer=MemberSync,
                precondition="required",
                max_body_bytes=8 * 2**20,
            ),
        ),
    ),
)
