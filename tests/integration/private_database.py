"""A database of a test module's own on the real server, so that its rows are nobody else's."""

import asyncio
import atexit
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cache
from hashlib import sha256
from typing import TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

from asyncpg import InsufficientPrivilegeError

from rotary.postgres.connection import Connection, connect
from rotary.postgres.migrate import migrate

T = TypeVar("T")
_TRIES = 50


@contextmanager
def private_database(url: str, *, migrated: bool = True) -> Iterator[str]:
    """Creates a database on the server of `url`, yields its URL, and drops it with whoever is still connected."""
    name = f"rotary_test_{uuid4().hex}"
    template = f'TEMPLATE "{_migrated_template(url)}" STRATEGY file_copy' if migrated else ""
    execute(url, f'CREATE DATABASE "{name}" {template}')
    try:
        yield _at(url, name)
    finally:
        _kept.forget(_at(url, name))
        _drop(url, name)


def _drop(url: str, name: str) -> None:
    """Tries again while an autovacuum worker is connected, which we may not terminate."""
    for _ in range(_TRIES):
        with suppress(InsufficientPrivilegeError):
            return execute(url, f'DROP DATABASE "{name}" WITH (FORCE)')
        time.sleep(0.1)
    return execute(url, f'DROP DATABASE "{name}"')


@cache
def _migrated_template(url: str) -> str:
    """A migrated database that ends with the server: copying it is quicker than migrating another."""
    name = f"rotary_template_{uuid4().hex}"
    execute(url, f'CREATE DATABASE "{name}"')
    asyncio.run(_migrate(_at(url, name)))
    return name


def _at(url: str, name: str) -> str:
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def execute(url: str, *statements: str) -> None:
    """Runs statements, each in a transaction of its own."""

    async def run(connection: Connection) -> None:
        for statement in statements:
            await connection.execute(statement)

    _kept.use(url, run)


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    """The rows of a query."""

    async def run(connection: Connection) -> list[tuple[object, ...]]:
        return [tuple(row) for row in await connection.fetch(query)]

    return _kept.use(url, run)


class _Kept:
    """A connection to each database that tests ask, in an event loop that runs only meanwhile.

    Opening another one each time would take ten times as long as what is asked.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._connections: dict[str, Connection] = {}

    def use(self, url: str, run: Callable[[Connection], Awaitable[T]]) -> T:
        """What comes of a function that is given the connection."""

        async def used() -> T:
            if url not in self._connections or self._connections[url].is_closed():
                self._connections[url] = await connect(url)
            return await run(self._connections[url])

        return self._loop.run_until_complete(used())

    def forget(self, url: str) -> None:
        """Closes the connection to a database."""
        if kept := self._connections.pop(url, None):
            self._loop.run_until_complete(kept.close())

    def close(self) -> None:
        """Closes all of them."""
        for url in [*self._connections]:
            self.forget(url)
        self._loop.close()


_kept = _Kept()
atexit.register(_kept.close)


async def _migrate(url: str) -> None:
    connection = await connect(url)
    try:
        await migrate(connection)
    finally:
        await connection.close()


EMPTY = """
DELETE FROM customers;
DELETE FROM definition_changes;
WITH RECURSIVE emptied (id) AS (
  SELECT unnest(ARRAY['customers', 'definition_changes']::regclass[])::oid
  UNION SELECT conrelid FROM pg_constraint JOIN emptied ON confrelid = emptied.id
)
SELECT setval(objid::regclass, 1, false)
FROM emptied JOIN pg_depend ON refobjid = emptied.id JOIN pg_class ON pg_class.oid = objid AND relkind = 'S';
INSERT INTO definition_changes (entity) VALUES ('everything');
"""
"""As TRUNCATE ... RESTART IDENTITY CASCADE, which takes four times as long: it makes new files for every table."""

HASH = sha256(b"rot_a").hexdigest()
OTHER_HASH = sha256(b"rot_b").hexdigest()

SEED = f"""
INSERT INTO customers (id, name) VALUES (7, 'Saigon'), (8, 'Hanoi');
INSERT INTO caller_ids (id, customer_id, number, carrier) VALUES
  (18, 7, '+8418', 'viettel'), (19, 7, '+8419', 'mobifone'), (20, 7, '+8420', 'other'), (28, 8, '+8428', 'viettel');
INSERT INTO caller_id_groups (id, customer_id, name, rotation_strategy) VALUES
  (3, 7, 'three', 'random'), (4, 7, 'four', 'random'), (5, 7, 'five', 'random'), (6, 8, 'six', 'random');
INSERT INTO caller_id_group_members (group_id, caller_id_id) VALUES (3, 18), (3, 19), (4, 18), (6, 28);
INSERT INTO api_tokens (id, customer_id, name, token_sha256) VALUES (100, 7, 'a', '\\x{HASH}');
"""
"""Two customers: 7 with groups 3, 4 and 5 (empty) and a token, 8 with group 6; caller ID 18 is in two groups."""


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Connection]:
    """A connection of one's own."""
    connection = await connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def in_transaction(connection: Connection) -> AsyncIterator[Connection]:
    """A transaction, as something an AsyncExitStack can hold."""
    async with connection.transaction():
        yield connection
