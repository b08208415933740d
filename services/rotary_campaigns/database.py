"""PostgreSQL, for requests: a few connections that they share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rotary.management.actor import act_as_token
from rotary.postgres.connection import Connection, Pool, acquired, translate_errors


class TokenRevokedError(Exception):
    """PostgreSQL says that the token is revoked or has expired, and Redis has not heard of it yet."""


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
    async def changing(self, token_sha256_hex: str) -> AsyncIterator[Connection]:
        """A transaction whose changes are this token's in the audit log; rolled back when the block raises.

        Raises TokenRevokedError.
        """
        async with acquired(self.pool) as connection:
            with translate_errors(connection):
                async with connection.transaction():
                    if not await act_as_token(connection, token_sha256_hex):
                        raise TokenRevokedError
                    yield connection
