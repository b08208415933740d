"""Statements for rows of the definitions' tables. A broken constraint raises RefusedError."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from rotary.management.constraints import translate_refusals
from rotary.management.errors import NotFoundError
from rotary.management.statements import statement
from rotary.postgres.connection import Connection, translate_errors

Table = Literal["customers", "caller_ids", "caller_id_groups", "api_tokens"]
Values = Mapping[str, object]
"""Columns to their values. A Struct is stored as JSON. A column that is absent keeps its value or takes its default."""

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
    "hourly_cap": "integer",
    "min_gap_seconds": "integer",
    "activated_at": "timestamptz",
    "sticky_enabled": "boolean",
    "created_at": "timestamptz",
}
"""The columns of caller IDs and groups that are not text."""

# These statements are composed of table and column names from our code, never from input. All values are parameters.


async def insert(connection: Connection, table: Table, values: Values) -> int:
    """Adds a row and returns its id. If `values` has an id, automatic ids continue above it."""
    columns = ", ".join(values)
    places = ", ".join(f"${place}" for place in range(1, len(values) + 1))
    with translate_errors(connection), translate_refusals():
        row_id: int = await connection.fetchval(
            f"INSERT INTO {table} ({columns}) VALUES ({places}) RETURNING id",  # noqa: S608
            *map(_parameter, values.values()),
        )
        if "id" in values:
            await connection.execute(statement("advance_ids"), table, row_id)
    return row_id


async def update(connection: Connection, table: Table, row_id: int, values: Values) -> None:
    """Changes columns of a row. Raises NotFoundError if it does not exist."""
    changes = ", ".join(f"{column} = ${place}" for place, column in enumerate(("id", *values), 1))
    with translate_errors(connection), translate_refusals():
        done = await connection.execute(
            f"UPDATE {table} SET {changes} WHERE id = $1",  # noqa: S608
            row_id,
            *map(_parameter, values.values()),
        )
    if done == "UPDATE 0":
        raise missing(table, row_id)


async def delete(connection: Connection, table: Table, row_id: int) -> None:
    """Deletes a row and the rows that depend on it. Raises NotFoundError if it does not exist."""
    with translate_errors(connection), translate_refusals():
        done = await connection.execute(f"DELETE FROM {table} WHERE id = $1", row_id)  # noqa: S608
    if done == "DELETE 0":
        raise missing(table, row_id)


async def insert_many(connection: Connection, table: Table, rows: Sequence[Values]) -> list[int]:
    """Adds rows, with one statement for all that have the same columns. Returns their ids. Given ids are kept."""
    with translate_errors(connection), translate_refusals():
        if given := [int(str(row["id"])) for row in rows if "id" in row]:
            await connection.execute(statement("advance_ids"), table, max(given))
        allotted = await connection.fetch(statement("allot_ids"), table, len(rows) - len(given))
        new_ids = iter(row["id"] for row in allotted)
        complete = [row if "id" in row else {"id": next(new_ids), **row} for row in rows]
        for columns, alike in _by_columns(complete):
            await connection.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) SELECT * FROM unnest({_arrays(columns)})",  # noqa: S608
                *([row[column] for row in alike] for column in columns),
            )
    return [int(str(row["id"])) for row in complete]


async def update_many(connection: Connection, table: Table, rows: Mapping[int, Values]) -> None:
    """Changes rows by their ids, with one statement for all that change the same columns."""
    for columns, alike in _by_columns([{"id": row_id, **values} for row_id, values in rows.items()]):
        changes = ", ".join(f"{column} = wanted.{column}" for column in columns if column != "id")
        with translate_errors(connection), translate_refusals():
            await connection.execute(
                f"UPDATE {table} SET {changes}"  # noqa: S608
                f" FROM unnest({_arrays(columns)}) AS wanted ({', '.join(columns)}) WHERE {table}.id = wanted.id",
                *([row[column] for row in alike] for column in columns),
            )


def missing(table: Table, row_id: int) -> NotFoundError:
    """The refusal for a row that does not exist."""
    return NotFoundError("id", f"{NAMES[table]} {row_id} does not exist")


def _by_columns(rows: Sequence[Values]) -> list[tuple[tuple[str, ...], list[Values]]]:
    alike = defaultdict[tuple[str, ...], list[Values]](list)
    for row in rows:
        alike[tuple(row)].append(row)
    return list(alike.items())


def _arrays(columns: Sequence[str]) -> str:
    return ", ".join(f"${place}::{_TYPES.get(column, 'text')}[]" for place, column in enumerate(columns, 1))


def _parameter(value: object) -> object:
    return msgspec.json.encode(value).decode() if isinstance(value, Struct) else value
