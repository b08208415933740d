"""Reads history from Postgres, which nothing else in this service needs: only its requests wait for it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import date

from rotary.errors import UnavailableError
from rotary.http.errors import Refusal
from rotary.http.responses import failure
from rotary.postgres.connection import Pool, acquired, open_pool
from rotary.postgres.history import History, read_history

CONNECTIONS = 4
SECONDS = 5.0
NOT_CONFIGURED = failure(503, "History is not configured.", {"Retry-After": "3600"})


class HistoryReader:
    """At most CONNECTIONS reads at once, each of at most SECONDS. Connects when somebody asks."""

    def __init__(self, pool: "Pool | None") -> None:
        self._pool = pool

    async def read(self, customer: int, callers: Sequence[int], first: date, last: date) -> History:
        """The history of a customer's caller IDs from one day to another, both included.

        Raises Refusal when no database is configured, and UnavailableError when it is away or too slow.
        """
        if self._pool is None:
            raise Refusal(NOT_CONFIGURED)
        try:
            async with asyncio.timeout(SECONDS), acquired(self._pool) as connection:
                return await read_history(connection, customer, callers, first, last)
        except TimeoutError:
            raise UnavailableError("PostgreSQL is away", f"no answer within {SECONDS:.0f} s") from None


@asynccontextmanager
async def opened_history(url: str) -> AsyncIterator[HistoryReader]:
    """The reader, without a database for an empty URL. Raises ConfigurationError for an invalid one."""
    if not url:
        yield HistoryReader(None)
        return
    async with open_pool(url, CONNECTIONS) as pool:
        yield HistoryReader(pool)
