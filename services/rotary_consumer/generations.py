"""Generations of the facts: a rebuild on demand writes a new generation beside the current one.

`rotary-admin rebuild` requests it in Redis. Every consumer then reads the logs into both, into the new one from the
beginning of the logs. When the new generation has caught up, each bucket switches to it in one step, and the facts of
the old one are removed. Readers notice only the switch.
"""

import asyncio
import re
import time

import structlog
from msgspec import Struct
from redis.asyncio import Redis

from rotary.errors import UnavailableError
from rotary.redis import keys
from rotary.redis.connection import translate_errors
from rotary.redis.pipeline import Pipeline
from rotary.redis.positions import CURRENT_MS, Positions, switch
from rotary.runtime.backoff import Backoff

_log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.3
EXACT_SECONDS = 5.0
_FACTS = re.compile(r"\{b\d+\}(?:(\d+)/)?(?:position|\d+:(?:flagged|(?:calls|seen|flags|unknown):.*))")
_SCAN, _PAUSE_SECONDS = 1000, 0.01


class Generation(Struct, frozen=True):
    """The generation that readers use, and the one being built, if any."""

    current: int = 0
    building: int | None = None

    @property
    def is_outdated(self) -> bool:
        """Whether the rebuild was requested for a generation that has been replaced: two requests met."""
        return self.building is not None and self.building <= self.current


async def read_generation(client: Redis) -> Generation:
    """The generations as stored in Redis. Raises UnavailableError."""
    with translate_errors():
        stored = await client.hgetall(keys.REBUILD)
    building = stored.get(b"building")
    return Generation(int(stored.get(b"current", 0)), int(building) if building else None)


class Generations:
    """Follows the generations and completes rebuilds."""

    def __init__(self, client: Redis, pipeline: Pipeline) -> None:
        self._client = client
        self._pipeline = pipeline
        self._known = Generation()
        self._caught_up_at: float | None = None

    def being_read(self) -> list[int]:
        """The generations that every log is folded into."""
        known = self._known
        return [known.current] if known.building is None or known.is_outdated else [known.current, known.building]

    async def look(self) -> Generation:
        """Reads the generations. Raises UnavailableError."""
        self._known = await read_generation(self._client)
        return self._known

    async def run(self) -> None:
        """Completes rebuilds until cancelled."""
        backoff = Backoff(max_seconds=1.0)
        while True:
            try:
                known = await self.look()
                if known.building is None:
                    self._caught_up_at = None
                elif known.is_outdated:
                    await self._dismiss()
                elif await self._is_caught_up(known.building):
                    await self._complete(known.current, known.building)
                backoff.reset()
                await asyncio.sleep(LOOK_SECONDS)
            except UnavailableError as error:
                await backoff.wait(error.what)

    async def _dismiss(self) -> None:
        """Removes a request that nothing is to be done for."""
        with translate_errors():
            await self._client.hdel(keys.REBUILD, "building")

    async def _is_caught_up(self, building: int) -> bool:
        positions = Positions(self._pipeline, building)
        now_ms = await positions.now_ms()
        bucket_statuses = await positions.bucket_statuses()
        caught_up = all(one.complete_ms and one.age_ms(now_ms) < CURRENT_MS for one in bucket_statuses)
        if not caught_up:
            self._caught_up_at = None
        elif self._caught_up_at is None:
            self._caught_up_at = time.monotonic()
        return caught_up

    async def _complete(self, old: int, new: int) -> None:
        """Switches buckets to the new generation.

        For EXACT_SECONDS only buckets that are behind in no log, so that no count goes back; then also those that lack
        only events in flight.
        """
        assert self._caught_up_at is not None
        exact = time.monotonic() - self._caught_up_at < EXACT_SECONDS
        switched = [await switch(self._client, bucket, new, exact=exact) for bucket in range(keys.BUCKETS)]
        if not all(switched):
            return
        with translate_errors():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.hset(keys.REBUILD, "current", str(new))
            pipeline.hdel(keys.REBUILD, "building")
            await pipeline.execute()
        _log.info("generation switched", generation=new, replaced=old)
        self._known = Generation(new)
        await self._remove(old)

    async def _remove(self, old: int) -> None:
        """Removes the facts of a generation, a few keys at a time, so that readers do not wait."""
        with translate_errors():
            cursor = 0
            while True:
                cursor, names = await self._client.scan(cursor, match="{b*", count=_SCAN)
                if gone := [name for name in names if isinstance(name, bytes) and _is_of(name.decode(), old)]:
                    # The function checks again: an emptied or restored Redis may use this generation by now.
                    await self._client.fcall("remove_1", len(gone), *gone)
                if not cursor:
                    return
                await asyncio.sleep(_PAUSE_SECONDS)


def _is_of(name: str, generation: int) -> bool:
    found = _FACTS.fullmatch(name)
    return found is not None and int(found[1] or 0) == generation
