"""PostgreSQL, for requests: what they change is somebody's in the audit log."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rotary.management.actor import act_as
from rotary.postgres import database
from rotary.postgres.connection import Connection
from rotary.postgres.statements import statements


def statement(name: str) -> str:
    """The statement called `name` in queries.sql."""
    return statements("rotary_console")[name]


class Database(database.Database):
    """Every method raises UnavailableError when PostgreSQL is away."""

    @asynccontextmanager
    async def changing(self, actor: str) -> AsyncIterator[Connection]:
        """A transaction whose changes are this actor's in the audit log; rolled back when the block raises."""
        async with self.transaction() as connection:
            await act_as(connection, actor)
            yield connection
