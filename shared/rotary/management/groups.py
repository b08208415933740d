"""Groups of caller IDs. Their members are in `members`."""

from datetime import datetime

from msgspec import Struct

from rotary.definitions import GroupDefinition, GroupSummary, RotationStrategy, Status
from rotary.management.fields import GroupFields, NewGroup, Search, given
from rotary.management.lookups import require_customer, require_group
from rotary.management.pages import Page, PageRequest, fetch_page, like, page
from rotary.management.rows import Target, delete, insert, missing, update
from rotary.management.statements import statement
from rotary.postgres import store
from rotary.postgres.connection import Connection, translate_errors


class Group(Struct, frozen=True):
    """A stored group without its members; `caller_ids_count` counts those whose own status is active."""

    id: int
    customer_id: int
    name: str
    description: str | None
    rotation_strategy: RotationStrategy
    sticky_enabled: bool
    status: Status
    caller_ids_count: int
    created_at: datetime
    version: int


class GroupFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """Which groups. `search` is part of a name, in any letter case."""

    search: Search | None = None
    status: Status | None = None


async def list_groups(connection: Connection, customer_id: int) -> list[GroupSummary]:
    """A customer's groups, ascending by id. Raises NotFoundError."""
    await require_customer(connection, customer_id)
    return await store.read_group_summaries(connection, customer_id)


async def find_groups(
    connection: Connection, customer_id: int, wanted: GroupFilter, request: PageRequest
) -> Page[Group]:
    """A page of a customer's groups, ascending by id."""
    arguments = (None, like(wanted.search), wanted.status)
    rows, total = await fetch_page(connection, "find_groups", request, customer_id, *arguments)
    return page([Group(*row) for row in rows], total, request)


async def read_group(connection: Connection, group_id: int) -> GroupDefinition:
    """One group with its members, of whatever customer. Raises NotFoundError."""
    customer_id = await require_group(connection, group_id)
    (group,) = await store.read_groups(connection, customer_id, [group_id])
    return group


async def read_group_row(connection: Connection, group_id: int, owner: int | None = None) -> Group:
    """One group without its members. Raises NotFoundError, also for one that is not `owner`'s."""
    with translate_errors(connection):
        row = await connection.fetchrow(statement("find_groups"), owner, group_id, None, None)
    if row is None:
        raise missing("caller_id_groups", group_id)
    return Group(*row)


async def create_group(connection: Connection, customer_id: int, fields: NewGroup) -> GroupDefinition:
    """Creates a group without members. Raises NotFoundError."""
    await require_customer(connection, customer_id)
    values = {"customer_id": customer_id} | given(fields)
    return await read_group(connection, await insert(connection, "caller_id_groups", values))


async def update_group(connection: Connection, group_id: int | Target, fields: GroupFields) -> GroupDefinition:
    """Changes the fields that are given. Raises NotFoundError and StaleError."""
    target = group_id if isinstance(group_id, Target) else Target(group_id)
    await update(connection, "caller_id_groups", target, given(fields))
    return await read_group(connection, target.id)


async def delete_group(connection: Connection, group_id: int | Target) -> None:
    """Deletes a group and its memberships. Its caller IDs remain.

    Raises NotFoundError, StaleError, and ConflictError while an active or paused campaign uses it.
    """
    await delete(connection, "caller_id_groups", group_id)
