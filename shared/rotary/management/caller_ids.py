"""Caller IDs."""

from datetime import datetime

from msgspec import UNSET, Struct, structs

from rotary.definitions import Carrier, Status
from rotary.events import Id
from rotary.management.carriers import suggest_carrier
from rotary.management.fields import CallerIdFields, NewCallerId, Search, given
from rotary.management.lookups import require_customer, require_group
from rotary.management.pages import Page, PageRequest, fetch_page, like, page
from rotary.management.rows import Target, delete, insert, missing, update
from rotary.management.statements import statement
from rotary.postgres.connection import Connection, translate_errors


class CallerId(Struct, frozen=True):
    """A stored caller ID. `groups` holds the ids of the groups it is a member of, ascending."""

    id: int
    customer_id: int
    number: str
    display_name: str | None
    carrier: Carrier
    status: Status
    trunk_name: str | None
    daily_cap: int
    groups: list[int]
    hourly_cap: int | None
    min_gap_seconds: int | None
    activated_at: datetime | None
    version: int


class CallerIdFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """Which caller IDs. `search` is part of a number or of a display name, in any letter case."""

    search: Search | None = None
    status: Status | None = None
    carrier: Carrier | None = None
    group_id: Id | None = None


async def list_caller_ids(
    connection: Connection, *, customer_id: int | None = None, group_id: int | None = None
) -> list[CallerId]:
    """Caller IDs, ascending by id: all, a customer's, or a group's. Raises NotFoundError for either of those."""
    if customer_id is not None:
        await require_customer(connection, customer_id)
    if group_id is not None:
        await require_group(connection, group_id)
    return await _read(connection, customer_id, group_id, None)


async def find_caller_ids(
    connection: Connection, customer_id: int, wanted: CallerIdFilter, request: PageRequest
) -> Page[CallerId]:
    """A page of a customer's caller IDs, ascending by id."""
    arguments = (like(wanted.search), wanted.status, wanted.carrier, wanted.group_id)
    rows, total = await fetch_page(connection, "find_caller_ids", request, customer_id, *arguments)
    return page([CallerId(*row) for row in rows], total, request)


async def read_caller_id(connection: Connection, caller_id: int, owner: int | None = None) -> CallerId:
    """One caller ID. Raises NotFoundError, also for one that is not `owner`'s."""
    if rows := await _read(connection, owner, None, caller_id):
        return rows[0]
    raise missing("caller_ids", caller_id)


async def create_caller_id(connection: Connection, customer_id: int, fields: NewCallerId) -> CallerId:
    """Creates a caller ID of a customer. Raises NotFoundError, or ConflictError for a number that the customer has.

    Without a carrier it gets the one that its number suggests.
    """
    await require_customer(connection, customer_id)
    if fields.carrier is UNSET:
        fields = structs.replace(fields, carrier=suggest_carrier(fields.number))
    values = {"customer_id": customer_id} | given(fields)
    return await read_caller_id(connection, await insert(connection, "caller_ids", values))


async def update_caller_id(connection: Connection, caller_id: int | Target, fields: CallerIdFields) -> CallerId:
    """Changes the fields that are given.

    Raises NotFoundError, StaleError, or ConflictError for a number that the customer has.
    """
    target = caller_id if isinstance(caller_id, Target) else Target(caller_id)
    await update(connection, "caller_ids", target, given(fields))
    return await read_caller_id(connection, target.id)


async def delete_caller_id(connection: Connection, caller_id: int | Target) -> None:
    """Deletes a caller ID and its memberships. Raises NotFoundError and StaleError."""
    await delete(connection, "caller_ids", caller_id)


async def _read(
    connection: Connection, customer_id: int | None, group_id: int | None, caller_id: int | None
) -> list[CallerId]:
    with translate_errors(connection):
        rows = await connection.fetch(statement("caller_ids"), customer_id, group_id, caller_id)
    return [CallerId(*row) for row in rows]
