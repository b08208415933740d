"""`rotary-admin customer`."""

import click

from rotary.management import customers
from rotary.management.customers import Customer
from rotary.management.fields import NewCustomer
from rotary.postgres.connection import Connection
from rotary.runtime.cli import json_option
from rotary_admin.context import with_database
from rotary_admin.output import print_object, print_rows
from rotary_admin.params import ROW_ID, fields_from, json_value


@click.group()
def customer() -> None:
    """Manage customers: their names, time zones and policies."""


@customer.command("list")
@json_option
@with_database
async def list_customers(connection: Connection, /, *, as_json: bool) -> None:
    """List all customers."""
    rows = await customers.list_customers(connection)
    print_rows(rows, Customer, as_json=as_json, empty="no customers: create one with rotary-admin customer create")


@customer.command()
@click.option("--name", required=True)
@click.option("--timezone", help="IANA name. Daily counts start at its midnight.  [default: Asia/Ho_Chi_Minh]")
@click.option("--policy", help='Overrides of the default policy as JSON, such as {"cooldown_blocked_seconds": 7200}.')
@click.option("--id", type=ROW_ID, help="[default: the next free id]")
@json_option
@with_database
async def create(connection: Connection, /, *, policy: str | None, as_json: bool, **options: object) -> None:
    """Create a customer."""
    new = fields_from(NewCustomer, options | {"policy": json_value(policy, "--policy")})
    created = await customers.create_customer(connection, new)
    if as_json:
        print_object(created)
    else:
        click.echo(f"created customer {created.id}: {created.name}")
