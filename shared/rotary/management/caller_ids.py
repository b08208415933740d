"""Caller IDs."""

from datetime import datetime

from msgspec import Struct

from rotary.management.fields import CallerIdFields, NewCallerId, given
from rotary.management.lookups import require_customer, require_group
from rotary.management.rows import delete, insert, missing, update
from rotary.management.statements import statement
from rotary.postgres.connection import Connection


class CallerId(Struct, frozen=True):
    """A stored caller ID. `groups` holds the ids of the groups it is a member of, ascending."""

    id: int
    customer_id: int
    number: str
    display_name: str | None
    carrier: str
    status: str
    trunk_name: str | None
    daily_cap: int
    hourly_cap: int | None
    min_gap_seconds: int | None
    activated_at: datetime | None
    groups: list[int]


async def list_caller_ids(
    connection: Connection, *, customer_id: int | None = None, group_id: int | None = None
) -> list[CallerId]:
    """Caller IDs, ascending by id: all, a customer's, or a group's. Raises NotFoundError for either of those."""
    if customer_id is not None:
        await require_customer(connection, customer_id)
    if group_id is not None:
        await require_group(connection, group_id)
    return await _read(connection, customer_id, group_id, None)


async def read_caller_id(connection: Connection, caller_id: int) -> CallerId:
    """One caller ID. Raises NotFoundError."""
    if rows := await _read(connection, None, None, caller_id):
        return rows[0]
    raise missing("caller_ids", caller_id)


async def create_caller_id(connection: Connection, customer_id: int, fields: NewCallerId) -> CallerId:
    """Creates a caller ID of a customer. Raises NotFoundError, or ConflictError for a number that the customer has."""
    await require_customer(connection, customer_id)
    values = {"customer_id": customer_id} | given(fields)
    return await read_caller_id(connection, await insert(connection, "caller_ids", values))


async def update_caller_id(connection: Connection, caller_id: int, fields: CallerIdFields) -> CallerId:
    """Changes the fields that are given. Raises NotFoundError, or ConflictError for a number that the customer has."""
    await update(connection, "caller_ids", caller_id, given(fields))
    return await read_caller_id(connection, caller_id)


async def delete_caller_id(connection: Connection, caller_id: int) -> None:
    """Deletes a caller ID and its memberships. Raises NotFoundError."""
    await delete(connection, "caller_ids", caller_id)


async def _read(
    connection: Connection, customer_id: int | None, group_id: int | None, caller_id: int | None
) -> list[CallerId]:
    rows = await connection.fetch(statement("caller_ids"), customer_id, group_id, caller_id)
    return [CallerId(*row) for row in rows]
