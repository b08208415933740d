"""Putting facts straight into Redis, as a log's reader would."""

import asyncio
from collections.abc import Iterable

from redis.asyncio import Redis

from rotary.events import Event
from rotary.redis import keys
from rotary.redis.connection import load_functions
from rotary.redis.fold import Span, batches_of, fold
from rotary.redis.pipeline import Pipeline

LOG = "calls.0"


class Facts:
    """Folds events beside the consumers' logs: into their facts, and under a position that no log has."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._pipeline = Pipeline(redis)
        self._is_prepared = False

    async def fold(self, customer: int, events: Iterable[Event]) -> None:
        """One customer's events, in one call of the function for a thousand of them."""
        if not self._is_prepared:
            await load_functions(self._redis)
            self._is_prepared = True
        bucket = keys.bucket_of(customer)
        # No end: the position stays where the consumers left it.
        span = Span(LOG, None, None, 0, None)
        await fold(self._pipeline, {bucket: batches_of((customer, event) for event in events)}, {bucket: span}, "")

    async def close(self) -> None:
        """Closes the connection."""
        await self._pipeline.close()
        await asyncio.sleep(0)
