"""PostgreSQL, for requests: a few connections that they share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rotary.management.actor import act_as
from rotary.postgres.connection import Connection, Pool, acquired, translate_errors
from rotary.postgres.statements import statements


def statement(name: str) -> str:
    """The statement called `name` in queries.sql."""
    return statements("rotary_console")[name]


class Database:
    """Every method raises UnavailableError when PostgreSQL is away."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """A connection, outside of a transaction."""
        async with acquired(self.pool) as connection:
            with translate_errors(connection):
                yield connection

    @asynccontextmanager
    async def changing(self, actor: str) -> AsyncIterator[Connection]:
        """A transaction whose changes are this actor's in the audit log; rolled back when the block raises."""
        async with acquired(self.pool) as connection:
            with translate_errors(connection):
                async with connection.transaction():
                    await act_as(connection, actor)
                    yield connection
