"""PostgreSQL, for requests: a few connections that they share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rotary.postgres.connection import Connection, Pool, acquired, translate_errors


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
    async def transaction(self) -> AsyncIterator[Connection]:
        """A transaction, rolled back when the block raises."""
        async with self.reading() as connection, connection.transaction():
            yield connection
