"""`rotary-admin caller-id`."""

import click
from msgspec import Struct

from rotary.postgres.connection import Connection
from rotary_admin.context import on_database, statement
from rotary.management.definitions_file.schema import CallerIdEntry
from rotary.management.lookups import require_customer, require_group
from rotary_admin.params import CARRIERS, ROW_ID, STATUSES, Decorator, customer_option, options, values_of
from rotary_admin.output import print_object, print_rows
from rotary.runtime.cli import confirm, json_option, yes_option
from rotary.management.rows import delete, insert, missing, update


class CallerIdRow(Struct, frozen=True):
    """One caller ID as listed; `groups` holds the ids of those it is in."""

    id: int
    customer_id: int
    number: str
    display_name: str | None
    carrier: str
    status: str
    trunk_name: str | None
    daily_cap: int
    groups: list[int]


def _fields(*, required: bool) -> Decorator:
    return options(
        click.option("--number", required=required, help="As it is shown: 3 to 20 digits, with or without +."),
        click.option("--carrier", type=CARRIERS, required=required),
        click.option("--display-name", help='Pass "" to clear.'),
        click.option("--trunk", "trunk_name", metavar="NAME", help='Pass "" to clear.'),
        click.option("--daily-cap", type=int, metavar="N", help="Calls a day.  [default: 200]"),
        click.option("--status", type=STATUSES),
    )


@click.group("caller-id")
def caller_id() -> None:
    """Caller IDs: the numbers that calls show."""


@caller_id.command("list")
@click.option("--customer", "customer_id", type=ROW_ID, metavar="ID", help="Only this customer's.")
@click.option("--group", "group_id", type=ROW_ID, metavar="ID", help="Only this group's.")
@json_option
@on_database
async def list_caller_ids(
    connection: Connection, /, *, customer_id: int | None, group_id: int | None, as_json: bool
) -> None:
    """List caller IDs."""
    if customer_id is not None:
        await require_customer(connection, customer_id)
    if group_id is not None:
        await require_group(connection, group_id)
    rows = await _read(connection, customer_id, group_id, None)
    print_rows(rows, CallerIdRow, as_json=as_json, empty="no caller IDs")


@caller_id.command()
@customer_option
@_fields(required=True)
@json_option
@on_database
async def create(connection: Connection, /, *, customer_id: int, as_json: bool, **fields: object) -> None:
    """Create a caller ID."""
    values = {"customer_id": customer_id} | values_of(CallerIdEntry, fields)
    await require_customer(connection, customer_id)
    await _report(connection, await insert(connection, "caller_ids", values), "created", as_json=as_json)


@caller_id.command("update")
@click.argument("caller_id_id", metavar="ID", type=ROW_ID)
@_fields(required=False)
@json_option
@on_database
async def change(connection: Connection, /, *, caller_id_id: int, as_json: bool, **fields: object) -> None:
    """Change a caller ID."""
    await update(connection, "caller_ids", caller_id_id, values_of(CallerIdEntry, fields))
    await _report(connection, caller_id_id, "updated", as_json=as_json)


@caller_id.command("delete")
@click.argument("caller_id_id", metavar="ID", type=ROW_ID)
@yes_option
@on_database
async def remove(connection: Connection, /, *, caller_id_id: int, yes: bool) -> None:
    """Delete a caller ID, also from its groups."""
    row = await _read_one(connection, caller_id_id)
    confirm(f"Delete caller ID {caller_id_id} ({row.number}), a member of {len(row.groups)} groups?", yes)
    await delete(connection, "caller_ids", caller_id_id)
    click.echo(f"deleted caller ID {caller_id_id}: {row.number}")


async def _read(
    connection: Connection, customer_id: int | None, group_id: int | None, row_id: int | None
) -> list[CallerIdRow]:
    rows = await connection.fetch(statement("caller_ids"), customer_id, group_id, row_id)
    return [CallerIdRow(*row) for row in rows]


async def _read_one(connection: Connection, row_id: int) -> CallerIdRow:
    rows = await _read(connection, None, None, row_id)
    if not rows:
        raise missing("caller_ids", row_id)
    return rows[0]


async def _report(connection: Connection, row_id: int, done: str, *, as_json: bool) -> None:
    row = await _read_one(connection, row_id)
    if as_json:
        print_object(row)
    else:
        click.echo(f"{done} caller ID {row_id}: {row.number}")
