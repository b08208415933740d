"""Who dials in the fault tests: a few customers with their caller IDs, groups and tokens, as rows in Postgres."""

from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple
from zoneinfo import ZoneInfo

import asyncpg

CALLERS = 24
_GROUPS = ((0, 16), (8, 24))
"""The members of each of a customer's groups, by position: the groups overlap."""


class Customer(NamedTuple):
    """One customer. The first of its `callers` rests for as long as the tests last, the second is over its cap."""

    id: int
    token: str
    callers: tuple[int, ...]
    groups: dict[int, tuple[int, ...]]

    @property
    def resting(self) -> int:
        return self.callers[0]

    @property
    def spent(self) -> int:
        return self.callers[1]


def customer(number: int) -> Customer:
    """The customer with this id; caller IDs and groups are numbered after it."""
    callers = tuple(range(number * 1000 + 1, number * 1000 + 1 + CALLERS))
    groups = {number * 10 + at: callers[first:last] for at, (first, last) in enumerate(_GROUPS, 1)}
    return Customer(number, f"token-of-{number}", callers, groups)


def quiet_zone(now_ms: int) -> str:
    """A time zone where it is about noon: no midnight falls into the tests unless a test asks for one."""
    east = 12 - datetime.fromtimestamp(now_ms / 1000, UTC).hour
    zone = f"Etc/GMT{-east:+d}" if east else "Etc/UTC"  # POSIX signs: Etc/GMT-7 is seven hours east
    ZoneInfo(zone)
    return zone


async def write(url: str, customers: list[Customer], timezone: str) -> None:
    """Writes the customers' rows."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            for one in customers:
                await _write_customer(connection, one, timezone)
    finally:
        await connection.close()


async def _write_customer(connection: "asyncpg.Connection[asyncpg.Record]", one: Customer, timezone: str) -> None:
    await connection.execute("INSERT INTO customers VALUES ($1, $2, $3)", one.id, f"Customer {one.id}", timezone)
    await connection.execute(
        "INSERT INTO api_tokens (customer_id, name, token_sha256, rate_limit_per_minute) VALUES ($1, $2, $3, NULL)",
        one.id, one.token, sha256(one.token.encode()).digest(),
    )  # fmt: skip
    await connection.executemany(
        "INSERT INTO caller_ids (id, customer_id, number, carrier, daily_cap) VALUES ($1, $2, $3, 'viettel', $4)",
        [(caller, one.id, f"+8490{caller:07d}", 1 if caller == one.spent else 1_000_000) for caller in one.callers],
    )
    for group, members in one.groups.items():
        await connection.execute(
            "INSERT INTO caller_id_groups (id, customer_id, name, rotation_strategy) VALUES ($1, $2, $3, 'least_used')",
            group, one.id, f"Group {group}",
        )  # fmt: skip
        await connection.executemany(
            "INSERT INTO caller_id_group_members (group_id, caller_id_id) VALUES ($1, $2)",
            [(group, caller) for caller in members],
        )
