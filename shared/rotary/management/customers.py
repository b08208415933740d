"""Customers."""

import msgspec
from msgspec import Struct

from rotary.management.fields import CustomerFields, NewCustomer, check_timezone, given
from rotary.management.rows import Target, insert, missing, update
from rotary.management.statements import statement
from rotary.policy import Policy
from rotary.postgres.connection import Connection


class Customer(Struct, frozen=True):
    """A stored customer. `policy` holds its overrides of the default policy; `groups` and `caller_ids` are counts."""

    id: int
    name: str
    timezone: str
    policy: Policy | None
    groups: int
    caller_ids: int
    version: int


async def list_customers(connection: Connection) -> list[Customer]:
    """All customers, ascending by id."""
    return await _read(connection, None)


async def read_customer(connection: Connection, customer_id: int) -> Customer:
    """One customer. Raises NotFoundError."""
    if customers := await _read(connection, customer_id):
        return customers[0]
    raise missing("customers", customer_id)


async def create_customer(connection: Connection, customer: NewCustomer) -> Customer:
    """Creates a customer."""
    check_timezone(customer.timezone)
    return await read_customer(connection, await insert(connection, "customers", given(customer)))


async def update_customer(connection: Connection, customer_id: int | Target, fields: CustomerFields) -> Customer:
    """Changes the fields that are given. Raises NotFoundError and StaleError."""
    target = customer_id if isinstance(customer_id, Target) else Target(customer_id)
    check_timezone(fields.timezone)
    await update(connection, "customers", target, given(fields))
    return await read_customer(connection, target.id)


async def _read(connection: Connection, customer_id: int | None) -> list[Customer]:
    rows = await connection.fetch(statement("customers"), customer_id)
    return [
        Customer(
            row["id"],
            row["name"],
            row["timezone"],
            msgspec.json.decode(row["policy"] or "null", type=Policy | None),
            row["groups"],
            row["caller_ids"],
            row["version"],
        )
        for row in rows
    ]
