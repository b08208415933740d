"""PostgreSQL, for requests: what they change is the token's in the audit log."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rotary.management.actor import act_as_token
from rotary.postgres import database
from rotary.postgres.connection import Connection


class TokenRevokedError(Exception):
    """PostgreSQL says that the token is revoked or has expired, and Redis has not heard of it yet."""


class Database(database.Database):
    """Every method raises UnavailableError when PostgreSQL is away."""

    @asynccontextmanager
    async def changing(self, token_sha256_hex: str) -> AsyncIterator[Connection]:
        """A transaction whose changes are this token's in the audit log; rolled back when the block raises.

        Raises TokenRevokedError.
        """
        async with self.transaction() as connection:
            if not await act_as_token(connection, token_sha256_hex):
                raise TokenRevokedError
            yield connection
