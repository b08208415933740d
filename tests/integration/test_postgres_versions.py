"""Versions of the definitions follow the order of the snapshots, whatever commits meanwhile, on a real server."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise

import pytest

from integration.private_database import in_transaction, opened
from rotary.postgres import store
from rotary.postgres.connection import Connection

WRITERS, READERS, SNAPSHOTS = 6, 3, 300


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    async with opened(database_url) as own:
        await own.execute("DROP TABLE IF EXISTS counters")
        await own.execute("CREATE TABLE counters AS SELECT id, 0 AS n FROM generate_series(1, 6) AS id")
        yield own


async def seen(connection: Connection) -> tuple[str, tuple[int, ...]]:
    """The version of a snapshot, and what there is in it."""
    async with store.snapshot(connection):
        rows = await connection.fetch("SELECT n FROM counters ORDER BY id")
        return await store.read_version(connection), tuple(row["n"] for row in rows)


@asynccontextmanager
async def rolled_back(connection: Connection) -> AsyncIterator[None]:
    """A subtransaction that is rolled back."""
    nested = connection.transaction()
    await nested.start()
    yield
    await nested.rollback()


async def write(database_url: str, row: int, chance: random.Random, done: asyncio.Event) -> None:
    """Commits and rolls back, with savepoints and without, and keeps some transactions open over others' commits."""
    async with opened(database_url) as connection:
        while not done.is_set():
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("UPDATE counters SET n = n + 1 WHERE id = $1", row)
            if chance.random() < 0.3:
                async with rolled_back(connection):
                    await connection.execute("UPDATE counters SET n = n - 9 WHERE id = $1", row)
            if chance.random() < 0.3:
                await asyncio.sleep(chance.random() / 50)
            await (transaction.rollback() if chance.random() < 0.1 else transaction.commit())


async def read(database_url: str) -> list[tuple[str, tuple[int, ...]]]:
    async with opened(database_url) as connection:
        return [await seen(connection) for _ in range(SNAPSHOTS)]


async def test_the_order_of_versions_is_the_order_of_the_data(connection: Connection, database_url: str) -> None:
    done = asyncio.Event()
    writers = [asyncio.create_task(write(database_url, row, random.Random(row), done)) for row in range(1, WRITERS + 1)]
    try:
        read_by_all = await asyncio.gather(*(read(database_url) for _ in range(READERS)))
    finally:
        done.set()
        await asyncio.gather(*writers)
    for own in read_by_all:
        assert own == sorted(own)
    for (earlier, old), (later, new) in pairwise(sorted(pair for own in read_by_all for pair in own)):
        assert all(was <= is_now for was, is_now in zip(old, new, strict=True))
        assert earlier < later or old == new
    assert len({version for own in read_by_all for version, _ in own}) > SNAPSHOTS / 2


async def test_a_commit_of_an_older_transaction_makes_a_later_version(
    connection: Connection, database_url: str
) -> None:
    # Then xmax stays as it was: that fewer transactions are running is all that tells the snapshots apart.
    async with opened(database_url) as older, opened(database_url) as newer:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(in_transaction(older))
            await older.execute("UPDATE counters SET n = 1 WHERE id = 1")
            await newer.execute("UPDATE counters SET n = 1 WHERE id = 2")
            before, data_before = await seen(connection)
        after, data_after = await seen(connection)
    assert (data_before[:2], data_after[:2]) == ((0, 1), (1, 1))
    assert before < after


async def test_a_raised_epoch_is_later_than_every_version_before(connection: Connection) -> None:
    before, _ = await seen(connection)
    assert await store.request_resync(connection, 41) == 42
    after, _ = await seen(connection)
    assert len(after) == len(before) == 40
    assert before < f"{41:08x}" + "f" * 32 < after
    assert await store.request_resync(connection) == 43
