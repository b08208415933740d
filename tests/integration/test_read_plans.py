"""What PostgreSQL reads for a request: rows of what was asked for, however many others there are."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from integration.private_database import execute, opened
from rotary.management.statements import statement
from rotary.postgres.connection import Connection

CUSTOMERS = 500
LARGE = f"""
INSERT INTO customers (id, name) SELECT 1000 + n, 'One of many' FROM generate_series(1, {CUSTOMERS}) AS n;
INSERT INTO caller_ids (id, customer_id, number, carrier)
SELECT 10000 + n, 1001 + n % {CUSTOMERS}, (10000 + n)::text, 'other' FROM generate_series(1, {10 * CUSTOMERS}) AS n;
INSERT INTO caller_id_groups (id, customer_id, name, rotation_strategy)
SELECT 1000 + n, 1001 + n % {CUSTOMERS}, 'One of many', 'random' FROM generate_series(1, {CUSTOMERS}) AS n;
INSERT INTO caller_id_group_members (group_id, caller_id_id)
SELECT 1000 + (n - 1) % {CUSTOMERS} + 1, 10000 + n FROM generate_series(1, {10 * CUSTOMERS}) AS n;
ANALYZE customers; ANALYZE caller_ids; ANALYZE caller_id_groups; ANALYZE caller_id_group_members;
"""
OF_ONE = {
    "a customer by its id": ("known_customers", (1100, 11)),
    "a group by its id": ("known_groups", (1100, 11)),
    "a group's caller IDs": ("caller_ids", (None, 1100, None)),
    "a customer's caller IDs": ("caller_ids", (1100, None, None)),
    "a customer's caller IDs in a group": ("find_caller_ids", (1101, None, None, None, 1100)),
    "a customer's groups": ("find_groups", (1100, None, None, None)),
    "a customer": ("customers", (1100,)),
    "a customer's tokens": ("tokens", (1100, None)),
    "a group's members": ("memberships", ([1100],)),
}


@pytest.fixture(scope="module")
def large(database_url: str) -> str:
    """A database with five hundred customers."""
    execute(database_url, LARGE)
    return database_url


@pytest.mark.parametrize("asked", OF_ONE)
async def test_a_request_about_one_reads_no_rows_of_all_the_others(large: str, asked: str) -> None:
    name, arguments = OF_ONE[asked]
    async with opened(large) as connection:
        assert await rows_read(connection, statement(name), *arguments) < CUSTOMERS / 2


async def rows_read(connection: Connection, query: str, *arguments: object) -> int:
    """The rows that the scans of a query found, with those that they found for nothing."""
    plan = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query.removesuffix(';')}", *arguments)
    return sum(_found(step) for step in _steps(json.loads(plan)[0]["Plan"]) if "Scan" in step["Node Type"])


def _found(step: Any) -> int:
    return int((step["Actual Rows"] + step.get("Rows Removed by Filter", 0)) * step["Actual Loops"])


def _steps(step: Any) -> Iterator[Any]:
    yield step
    for inner in step.get("Plans", ()):
        yield from _steps(inner)
