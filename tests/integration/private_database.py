"""A database of a test module's own on the real server, so that its rows are nobody else's."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

from rotary.postgres.connection import connect
from rotary.postgres.migrate import migrate

T = TypeVar("T")


@contextmanager
def private_database(url: str, *, migrated: bool = True) -> Iterator[str]:
    """Creates a database on the server of `url`, yields its URL, and drops it with whoever is still connected."""
    name = f"rotary_test_{uuid4().hex}"
    own = urlsplit(url)._replace(path=f"/{name}").geturl()
    execute(url, f'CREATE DATABASE "{name}"')
    try:
        if migrated:
            asyncio.run(_migrate(own))
        yield own
    finally:
        execute(url, f'DROP DATABASE "{name}" WITH (FORCE)')


def execute(url: str, *statements: str) -> None:
    """Runs statements, each in a transaction of its own."""

    async def run() -> None:
        connection = await connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    """The rows of a query."""

    async def run() -> list[tuple[object, ...]]:
        connection = await connect(url)
        try:
            return [tuple(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()

    return asyncio.run(run())


async def _migrate(url: str) -> None:
    connection = await connect(url)
    try:
        await migrate(connection)
    finally:
        await connection.close()


EMPTY = "TRUNCATE customers, definition_changes RESTART IDENTITY CASCADE"
"""Leaves the tables as a first migration does, but for the feed's rows about it."""
