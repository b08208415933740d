"""History in Postgres: the consumer writes it, the query service reads it. docs/history.md has the meaning.

All functions raise UnavailableError if the server is away or has no tables yet.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import asyncpg
from msgspec import Struct

from rotary.domain.history import Day, Figures, Known
from rotary.errors import UnavailableError
from rotary.policy import Policy
from rotary.postgres.connection import Connection, translate_errors
from rotary.postgres.statements import statement
from rotary.postgres.store import read_stored_policy

_LOCK = 0x726F7461_68697374  # "rotahist"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Key = tuple[int, date]
"""A caller ID on a day."""


class Customer(Struct, frozen=True):
    """A customer whose days are rolled up. `swept_ms` is when the last complete sweep began; None for never."""

    id: int
    timezone: str
    swept_ms: int | None


class CustomerDay(Struct, frozen=True):
    """A day on record, with the policy that it ended under, and what has been known of every caller ID on it."""

    day: Day
    policy: Policy
    knew: Known
    calls_final: bool
    final: bool


class DayProgress(NamedTuple):
    """What a complete sweep found out about a day."""

    date: date
    knew: Known
    calls_final: bool
    final: bool


async def try_lead(connection: Connection) -> bool:
    """Tries to make this connection the only one that rolls up, until it closes. Returns whether it is."""
    with translate_errors(connection):
        # Before the tables' first ANALYZE the planner would scan all caller IDs for a few hundred rows.
        await connection.execute("SET enable_hashjoin = off; SET enable_mergejoin = off")
        return bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK))


async def read_customers(connection: Connection) -> list[Customer]:
    """Every customer, ascending by id."""
    with translate_errors(connection):
        return [Customer(*row) for row in await connection.fetch(statement("read_history_customers"))]


async def begin_sweep(connection: Connection, customer: int, added: Sequence[Day]) -> tuple[list[CustomerDay], int]:
    """Adds days that are not on record. Returns all that are, ascending, and the version of flags that was seen."""
    ends = [[day.date for day in added], *([_moment(ms) for ms in some] for some in _bounds(added))]
    with translate_errors(connection):
        async with connection.transaction():
            version = await connection.fetchval(statement("begin_history_sweep"), customer)
            if added:
                await connection.execute(statement("add_customer_days"), customer, *ends)
        return await read_days(connection, customer), int(version)


async def read_days(connection: Connection, customer: int) -> list[CustomerDay]:
    """The days on record, ascending."""
    with translate_errors(connection):
        rows = await connection.fetch(statement("read_customer_days"), customer)
    return [
        CustomerDay(
            Day(row["day"], _ms(row["begins_at"]), _ms(row["ends_at"])),
            read_stored_policy(row),
            Known(row["calls_known"], row["flags_known"], row["resting_known"], row["health_known"]),
            row["calls_final"],
            row["final"],
        )
        for row in rows
    ]


async def read_caller_ids(connection: Connection, customer: int, after: int, limit: int) -> list[int]:
    """The customer's next caller IDs after one, ascending."""
    with translate_errors(connection):
        rows = await connection.fetch(statement("history_caller_ids"), customer, after, limit)
    return [row["id"] for row in rows]


async def read_figures(
    connection: Connection, customer: int, callers: Sequence[int], days: Sequence[date]
) -> dict[Key, Figures]:
    """The figures on record of these caller IDs on these days."""
    if not callers or not days:
        return {}
    with translate_errors(connection):
        rows = await connection.fetch(statement("read_figures"), customer, list(callers), list(days))
    return {(row[0], row[1]): Figures(row[2], (row[3], row[4], row[5], row[6]), row[7], row[8]) for row in rows}


async def write_figures(
    connection: Connection, customer: int, as_of_ms: int, rows: Mapping[Key, Figures], gone: Sequence[Key]
) -> int | None:
    """Writes figures and removes those that are nothing now, all or none. Returns how many rows changed.

    Returns None, with nothing written, if figures from newer facts than those of `as_of_ms` were written before.
    """
    with translate_errors(connection):
        async with connection.transaction():
            if await connection.execute(statement("take_history_turn"), customer, as_of_ms) != "UPDATE 1":
                return None
            changed = 0
            if rows:
                columns = zip(*(_row(key, row) for key, row in rows.items()), strict=True)
                changed = await _changed(connection, "write_figures", customer, *map(list, columns))
            if gone:
                callers, days = zip(*gone, strict=True)
                changed += await _changed(connection, "remove_figures", customer, list(callers), list(days))
    return changed


async def finish_sweep(
    connection: Connection, customer: int, swept_ms: int, flags_version: int, days: Sequence[DayProgress]
) -> None:
    """Puts on record what a complete sweep found out about each day."""
    columns = [[*column] for column in zip(*((one.date, *one.knew, *one[2:]) for one in days), strict=True)]
    with translate_errors(connection):
        async with connection.transaction():
            if days:
                await connection.execute(statement("finish_customer_days"), customer, *columns)
            await connection.execute(statement("finish_history_sweep"), customer, swept_ms, flags_version)


async def remove_old_days(connection: Connection, customer: int, before: date) -> None:
    """Removes the customer's record of the days before one."""
    with translate_errors(connection):
        await connection.execute(statement("remove_old_customer_days"), customer, before)


async def remove_old_figures(connection: Connection, callers: Sequence[int], before: date) -> int:
    """Removes the figures of these caller IDs before a day. Returns how many rows there were."""
    with translate_errors(connection):
        return await _changed(connection, "remove_old_figures", list(callers), before)


async def _changed(connection: Connection, name: str, *arguments: object) -> int:
    try:
        return int((await connection.execute(statement(name), *arguments)).rpartition(" ")[2])
    except asyncpg.ForeignKeyViolationError as error:
        raise UnavailableError("A caller ID was deleted just now", str(error)) from error


def _row(key: Key, figures: Figures) -> tuple[object, ...]:
    return (*key, figures.calls, *figures.flags, figures.resting_seconds, figures.health)


def _bounds(days: Sequence[Day]) -> tuple[list[int], list[int]]:
    return [day.begin_ms for day in days], [day.end_ms for day in days]


def _moment(at_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=at_ms)


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


# What the query service reads


class HistoryDay(Struct, frozen=True):
    """A day of which something is known."""

    date: date
    knew: Known
    final: bool


class Totals(Struct, frozen=True):
    """The sums over rows: of each figure, as (known in so many rows, sum)."""

    rows: int
    calls: tuple[int, int]
    flags: tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]
    resting_seconds: tuple[int, int]
    health: tuple[int, int]


NO_ROWS = Totals(0, (0, 0), ((0, 0), (0, 0), (0, 0), (0, 0)), (0, 0), (0, 0))


class History(Struct, frozen=True):
    """The history of some caller IDs: the days that are known, ascending, and the sums of their rows.

    `last_health` has the caller IDs with a row on the last day.
    """

    days: list[HistoryDay]
    by_day: Mapping[date, Totals]
    by_caller: Mapping[int, Totals]
    last_health: Mapping[int, int | None]


async def read_history(
    connection: Connection, customer: int, callers: Sequence[int], first: date, last: date
) -> History:
    """The history of a customer's caller IDs from one day to another, both included."""
    with translate_errors(connection):
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            rows = await connection.fetch(statement("read_history_days"), customer, first, last)
            days = [HistoryDay(row[0], Known(*row[1:5]), row[5]) for row in rows]
            if not days or not callers:
                return History(days, {}, {}, {})
            wanted = list(callers)
            sums = await connection.fetch(
                statement("read_history_totals"), customer, wanted, [day.date for day in days]
            )
            health = await connection.fetch(statement("read_history_health"), customer, wanted, days[-1].date)
    return History(
        days,
        {row["day"]: _totals(row) for row in sums if row["day"] is not None},
        {row["caller_id_id"]: _totals(row) for row in sums if row["caller_id_id"] is not None},
        {row["caller_id_id"]: row["health"] for row in health},
    )


def _totals(row: asyncpg.Record) -> Totals:
    values = [*row.values()][2:]
    calls, first, second, third, fourth, resting, health = zip(values[1::2], values[2::2], strict=True)
    return Totals(values[0], calls, (first, second, third, fourth), resting, health)
