"""Rows in and out of the definitions' tables. What breaks a rule of theirs, asyncpg raises and `program` tells."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from rotary.postgres.connection import Connection
from rotary_admin.context import statement
from rotary.runtime.cli import Failure

Table = Literal["customers", "caller_ids", "caller_id_groups", "api_tokens"]
Values = Mapping[str, object]
"""Columns to their values; a Struct is written as JSON. What is not named keeps its value, or has the default."""

NAMES: dict[Table, str] = {
    "customers": "customer",
    "caller_ids": "caller ID",
    "caller_id_groups": "group",
    "api_tokens": "token",
}

_TYPES = {
    "id": "bigint",
    "customer_id": "bigint",
    "daily_cap": "integer",
    "sticky_enabled": "boolean",
    "created_at": "timestamptz",
}
"""The columns of caller IDs and groups that are no text."""

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


async def insert_many(connection: Connection, table: Table, rows: Sequence[Values]) -> list[int]:
    """Adds rows, a statement for all that name the same columns; returns their ids. Ids among the values are kept."""
    if given := [int(str(row["id"])) for row in rows if "id" in row]:
        await connection.execute(statement("advance_ids"), table, max(given))
    allotted = await connection.fetch(statement("allot_ids"), table, len(rows) - len(given))
    fresh = iter(row["id"] for row in allotted)
    whole = [row if "id" in row else {"id": next(fresh), **row} for row in rows]
    for columns, alike in _by_columns(whole):
        await connection.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT * FROM unnest({_arrays(columns)})",  # noqa: S608
            *([row[column] for row in alike] for column in columns),
        )
    return [int(str(row["id"])) for row in whole]


async def update_many(connection: Connection, table: Table, rows: Mapping[int, Values]) -> None:
    """Changes rows by their ids, a statement for all that change the same columns."""
    for columns, alike in _by_columns([{"id": row_id, **values} for row_id, values in rows.items()]):
        changes = ", ".join(f"{column} = wanted.{column}" for column in columns if column != "id")
        await connection.execute(
            f"UPDATE {table} SET {changes}"  # noqa: S608
            f" FROM unnest({_arrays(columns)}) AS wanted ({', '.join(columns)}) WHERE {table}.id = wanted.id",
            *([row[column] for row in alike] for column in columns),
        )


def _by_columns(rows: Sequence[Values]) -> list[tuple[tuple[str, ...], list[Values]]]:
    alike = defaultdict[tuple[str, ...], list[Values]](list)
    for row in rows:
        alike[tuple(row)].append(row)
    return list(alike.items())


def _arrays(columns: Sequence[str]) -> str:
    return ", ".join(f"${place}::{_TYPES.get(column, 'text')}[]" for place, column in enumerate(columns, 1))


async def delete(connection: Connection, table: Table, row_id: int) -> None:
    """Deletes a row and what hangs on it. Raises Failure when there is no such row."""
    if await connection.execute(f"DELETE FROM {table} WHERE id = $1", row_id) == "DELETE 0":  # noqa: S608
        raise missing(table, row_id)


def missing(table: Table, row_id: int) -> Failure:
    """The failure for a row that is not there."""
    return Failure(f"there is no {NAMES[table]} {row_id}")


def _written(value: object) -> object:
    return msgspec.json.encode(value).decode() if isinstance(value, Struct) else value
