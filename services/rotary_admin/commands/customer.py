"""`rotary-admin customer`."""

import click
import msgspec
from msgspec import Struct

from rotary.postgres.connection import Connection
from rotary_admin.context import on_database, statement
from rotary.management.definitions_file.schema import CustomerEntry
from rotary_admin.params import ROW_ID, json_of, values_of
from rotary_admin.output import print_object, print_rows
from rotary.runtime.cli import json_option
from rotary.management.rows import insert


class CustomerRow(Struct, frozen=True):
    """One customer as listed; `policy` holds its overrides."""

    id: int
    name: str
    timezone: str
    policy: dict[str, int | float] | None
    groups: int
    caller_ids: int


@click.group()
def customer() -> None:
    """Customers: whose numbers they are, and in which time zone a day begins."""


@customer.command("list")
@json_option
@on_database
async def list_customers(connection: Connection, /, *, as_json: bool) -> None:
    """List all customers."""
    rows = await read_customers(connection)
    print_rows(rows, CustomerRow, as_json=as_json, empty="no customers yet: rotary-admin customer create")


@customer.command()
@click.option("--name", required=True)
@click.option("--timezone", help="IANA name.  [default: Asia/Ho_Chi_Minh]")
@click.option("--policy", help='Overrides of the default policy as JSON: {"cooldown_blocked_seconds": 7200}')
@click.option("--id", type=ROW_ID, help="An id of your own choosing.")
@json_option
@on_database
async def create(connection: Connection, /, *, policy: str | None, as_json: bool, **fields: object) -> None:
    """Create a customer."""
    values = values_of(CustomerEntry, fields | {"policy": json_of(policy, "--policy")})
    customer_id = await insert(connection, "customers", values)
    if as_json:
        print_object((await read_customers(connection, customer_id))[0])
    else:
        click.echo(f"created customer {customer_id}: {values['name']}")


async def read_customers(connection: Connection, customer_id: int | None = None) -> list[CustomerRow]:
    """All customers, or the one."""
    rows = await connection.fetch(statement("customers"), customer_id)
    return [
        CustomerRow(
            row["id"],
            row["name"],
            row["timezone"],
            msgspec.json.decode(row["policy"] or "null", type=dict[str, int | float] | None),
            row["groups"],
            row["caller_ids"],
        )
        for row in rows
    ]
