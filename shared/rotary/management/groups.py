"""Groups of caller IDs. Their members are in `members`."""

from rotary.definitions import GroupDefinition, GroupSummary
from rotary.management.fields import GroupFields, NewGroup, given
from rotary.management.lookups import require_customer, require_group
from rotary.management.rows import delete, insert, update
from rotary.postgres import store
from rotary.postgres.connection import Connection


async def list_groups(connection: Connection, customer_id: int) -> list[GroupSummary]:
    """A customer's groups, ascending by id. Raises NotFoundError."""
    await require_customer(connection, customer_id)
    return await store.read_group_summaries(connection, customer_id)


async def read_group(connection: Connection, group_id: int) -> GroupDefinition:
    """One group with its members, of whatever customer. Raises NotFoundError."""
    customer_id = await require_group(connection, group_id)
    (group,) = await store.read_groups(connection, customer_id, [group_id])
    return group


async def create_group(connection: Connection, customer_id: int, fields: NewGroup) -> GroupDefinition:
    """Creates a group without members. Raises NotFoundError."""
    await require_customer(connection, customer_id)
    values = {"customer_id": customer_id} | given(fields)
    return await read_group(connection, await insert(connection, "caller_id_groups", values))


async def update_group(connection: Connection, group_id: int, fields: GroupFields) -> GroupDefinition:
    """Changes the fields that are given. Raises NotFoundError."""
    await update(connection, "caller_id_groups", group_id, given(fields))
    return await read_group(connection, group_id)


async def delete_group(connection: Connection, group_id: int) -> None:
    """Deletes a group and its memberships. Its caller IDs remain. Raises NotFoundError."""
    await delete(connection, "caller_id_groups", group_id)
