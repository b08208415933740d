"""`rotary-admin caller-id`."""

import click

from rotary.management import caller_ids
from rotary.management.caller_ids import CallerId
from rotary.management.fields import CallerIdFields, NewCallerId
from rotary.postgres.connection import Connection
from rotary.runtime.cli import confirm, json_option, yes_option
from rotary_admin.context import with_database
from rotary_admin.output import print_object, print_rows
from rotary_admin.params import (
    CARRIERS,
    ROW_ID,
    STATUSES,
    Decorator,
    customer_filter,
    customer_option,
    fields_from,
    options,
    require_changes,
)


def _field_options(*, new: bool) -> Decorator:
    clearing = "" if new else 'Pass "" to clear.'
    return options(
        click.option("--number", required=new, help="As displayed: 3 to 20 digits, with or without a leading +."),
        click.option("--carrier", type=CARRIERS, required=new),
        click.option("--display-name", help=clearing),
        click.option("--trunk", "trunk_name", metavar="NAME", help=clearing),
        click.option("--daily-cap", type=int, metavar="N", help="Calls per day." + "  [default: 200]" * new),
        click.option("--hourly-cap", metavar="N", help=f"Calls in any hour that the engine allows. {clearing}"),
        click.option("--min-gap", "min_gap_seconds", metavar="SECONDS", help=f"Between two picks. {clearing}"),
        click.option("--activated-at", metavar="TIME", help=f"Since when warm-up counts its days. {clearing}"),
        click.option("--status", type=STATUSES),
    )


_id_argument = click.argument("caller_id_id", metavar="ID", type=ROW_ID)


@click.group("caller-id")
def caller_id() -> None:
    """Manage caller IDs: the numbers that calls display."""


@caller_id.command("list")
@customer_filter
@click.option("--group", "group_id", type=ROW_ID, help="Only this group's.")
@json_option
@with_database
async def list_caller_ids(
    connection: Connection, /, *, customer_id: int | None, group_id: int | None, as_json: bool
) -> None:
    """List caller IDs."""
    rows = await caller_ids.list_caller_ids(connection, customer_id=customer_id, group_id=group_id)
    print_rows(rows, CallerId, as_json=as_json, empty="no caller IDs")


@caller_id.command()
@customer_option
@_field_options(new=True)
@json_option
@with_database
async def create(connection: Connection, /, *, customer_id: int, as_json: bool, **fields: object) -> None:
    """Create a caller ID."""
    new = fields_from(NewCallerId, fields)
    _print(await caller_ids.create_caller_id(connection, customer_id, new), "created", as_json=as_json)


@caller_id.command()
@_id_argument
@_field_options(new=False)
@json_option
@with_database
async def update(connection: Connection, /, *, caller_id_id: int, as_json: bool, **fields: object) -> None:
    """Change a caller ID."""
    changes = require_changes(fields_from(CallerIdFields, fields))
    _print(await caller_ids.update_caller_id(connection, caller_id_id, changes), "updated", as_json=as_json)


@caller_id.command()
@_id_argument
@yes_option
@with_database
async def delete(connection: Connection, /, *, caller_id_id: int, yes: bool) -> None:
    """Delete a caller ID and its memberships."""
    found = await caller_ids.read_caller_id(connection, caller_id_id)
    confirm(f"Delete caller ID {found.id} ({found.number}), a member of {len(found.groups)} groups?", yes)
    await caller_ids.delete_caller_id(connection, caller_id_id)
    click.echo(f"deleted caller ID {found.id}: {found.number}")


def _print(row: CallerId, done: str, *, as_json: bool) -> None:
    if as_json:
        print_object(row)
    else:
        click.echo(f"{done} caller ID {row.id}: {row.number}")
