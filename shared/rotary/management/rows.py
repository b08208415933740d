"""Statements for rows of the definitions' tables. A broken constraint raises RefusedError."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import asyncpg
import msgspec
from msgspec import Struct

from rotary.management.constraints import translate_refusals
from rotary.management.errors import NotFoundError, StaleError, Violation
from rotary.management.statements import statement
from rotary.postgres.connection import Connection, translate_errors

Table = Literal["customers", "caller_ids", "caller_id_groups", "api_tokens", "campaigns", "webhooks"]
Values = Mapping[str, object]
"""Columns to their values. A Struct is stored as JSON. A column that is absent keeps its value or takes its default."""

NAMES: dict[Table, str] = {
    "customers": "customer",
    "caller_ids": "caller ID",
    "caller_id_groups": "group",
    "api_tokens": "token",
    "campaigns": "campaign",
    "webhooks": "webhook",
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


class Target(NamedTuple):
    """The row that a change is meant for. `owner`: only if it is this customer's; `version`: only if it still is in it.

    What belongs to another customer is refused as if it did not exist.
    """

    id: int
    owner: int | None = None
    version: int | frozenset[int] | None = None
    """Or one of these."""


async def lock(connection: Connection, table: Table, target: Target) -> asyncpg.Record:
    """The row, locked until the transaction ends. Raises NotFoundError and StaleError."""
    with translate_errors(connection):
        row = await connection.fetchrow(
            f"SELECT * FROM {table} WHERE id = $1 AND ($2::bigint IS NULL OR {_owner(table)} = $2) FOR UPDATE",  # noqa: S608
            target.id,
            target.owner,
        )
    if row is None:
        raise missing(table, target.id)
    versions = frozenset((target.version,)) if isinstance(target.version, int) else target.version
    if versions is not None and row["version"] not in versions:
        raise stale(table, target.id)
    return row


async def update(connection: Connection, table: Table, row_id: int | Target, values: Values) -> None:
    """Changes columns of a row. Raises NotFoundError if it does not exist, and StaleError."""
    target = row_id if isinstance(row_id, Target) else Target(row_id)
    await lock(connection, table, target)
    await change(connection, table, target.id, values)


async def change(connection: Connection, table: Table, row_id: int, values: Values) -> None:
    """Changes columns of a row that this transaction has locked."""
    if not values:
        return
    changes = ", ".join(f"{column} = ${place}" for place, column in enumerate(("id", *values), 1))
    with translate_errors(connection), translate_refusals():
        await connection.execute(
            f"UPDATE {table} SET {changes} WHERE id = $1",  # noqa: S608
            row_id,
            *map(_parameter, values.values()),
        )


async def delete(connection: Connection, table: Table, row_id: int | Target) -> None:
    """Deletes a row and the rows that depend on it. Raises NotFoundError if it does not exist, and StaleError."""
    target = row_id if isinstance(row_id, Target) else Target(row_id)
    await lock(connection, table, target)
    with translate_errors(connection), translate_refusals():
        await connection.execute(f"DELETE FROM {table} WHERE id = $1", target.id)  # noqa: S608


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


def stale(table: Table, row_id: int) -> StaleError:
    """The refusal for a row that has changed since it was read."""
    return StaleError(Violation("version", f"{NAMES[table]} {row_id} has changed since it was read"))


def _owner(table: Table) -> str:
    return "id" if table == "customers" else "customer_id"


def _by_columns(rows: Sequence[Values]) -> list[tuple[tuple[str, ...], list[Values]]]:
    alike = defaultdict[tuple[str, ...], list[Values]](list)
    for row in rows:
        alike[tuple(row)].append(row)
    return list(alike.items())


def _arrays(columns: Sequence[str]) -> str:
    return ", ".join(f"${place}::{_TYPES.get(column, 'text')}[]" for place, column in enumerate(columns, 1))


def _parameter(value: object) -> object:
    return msgspec.json.encode(value).decode() if isinstance(value, Struct) else value
