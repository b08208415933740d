"""Rows in and out of the definitions' tables. What breaks a rule of theirs, asyncpg raises and `program` tells."""

from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec import Struct

from rotary.postgres.connection import Connection
from rotary_admin.database import statement
from rotary_admin.program import Failure

Table = Literal["customers", "caller_ids", "caller_id_groups", "api_tokens"]
Values = Mapping[str, object]
"""Columns to their values; a Struct is written as JSON. What is not named keeps its value, or has the default."""

NAMES: dict[Table, str] = {
    "customers": "customer",
    "caller_ids": "caller ID",
    "caller_id_groups": "group",
    "api_tokens": "token",
}

# The statements below are put together from table names and columns that stand in our code, never from input;
# all values travel as parameters.


async def insert(connection: Connection, table: Table, values: Values) -> int:
    """Adds a row and returns its id. An id among `values` is taken as it is, and later automatic ids stay beyond it."""
    columns = ", ".join(values)
    places = ", ".join(f"${place}" for place in range(1, len(values) + 1))
    row_id: int = await connection.fetchval(
        f"INSERT INTO {table} ({columns}) VALUES ({places}) RETURNING id",  # noqa: S608
        *map(_written, values.values()),
    )
    if "id" in values:
        await connection.execute(statement("advance_ids"), table, row_id)
    return row_id


async def update(connection: Connection, table: Table, row_id: int, values: Values) -> None:
    """Changes a row's columns. Raises Failure when there is no such row, or nothing to change."""
    if not values:
        raise Failure("nothing to change: name at least one option (see --help)")
    columns = ", ".join(f"{column} = ${place}" for place, column in enumerate(values, 2))
    done = await connection.execute(
        f"UPDATE {table} SET {columns} WHERE id = $1",  # noqa: S608
        row_id,
        *map(_written, values.values()),
    )
    if done == "UPDATE 0":
        raise missing(table, row_id)


async def delete(connection: Connection, table: Table, row_id: int) -> None:
    """Deletes a row and what hangs on it. Raises Failure when there is no such row."""
    if await connection.execute(f"DELETE FROM {table} WHERE id = $1", row_id) == "DELETE 0":  # noqa: S608
        raise missing(table, row_id)


def missing(table: Table, row_id: int) -> Failure:
    """The failure for a row that is not there."""
    return Failure(f"there is no {NAMES[table]} {row_id}")


def _written(value: object) -> object:
    return msgspec.json.encode(value).decode() if isinstance(value, Struct) else value
