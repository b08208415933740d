"""Remembers which customers had events about past days, so that their history is looked at again soon.

A hint, and no more: history looks at every day again at fixed times.
"""

import asyncio
from collections.abc import Iterable

from redis.asyncio import Redis

from rotary.errors import UnavailableError
from rotary.redis import keys
from rotary.redis.connection import translate_errors
from rotary.runtime.backoff import Backoff

FLUSH_SECONDS = 1.0


class LateCustomers:
    """Customers in memory, and in Redis, where any consumer notes them for the one that rolls up."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._noted: set[int] = set()

    def add(self, customers: Iterable[int]) -> None:
        """Notes customers whose events were folded."""
        self._noted.update(customers)

    async def run(self) -> None:
        """Writes them to Redis until cancelled."""
        backoff = Backoff(max_seconds=1.0)
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.flush()
                backoff.reset()
            except UnavailableError as error:
                await backoff.wait(f"noting late events: {error.what}")

    async def flush(self) -> None:
        """Writes them to Redis. Raises UnavailableError, and keeps them."""
        if not self._noted:
            return
        noted = list(self._noted)
        with translate_errors():
            await self._client.sadd(keys.LATE, *map(str, noted))
        self._noted.difference_update(noted)

    async def read(self) -> set[int]:
        """The customers in Redis. Raises UnavailableError."""
        with translate_errors():
            return {int(name) for name in await self._client.smembers(keys.LATE)}

    async def remove(self, customer: int) -> None:
        """Removes a customer. Call it before its facts are read: an event after that notes it again."""
        with translate_errors():
            await self._client.srem(keys.LATE, str(customer))
