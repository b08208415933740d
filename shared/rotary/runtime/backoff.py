"""Waiting for a server that is away: longer each time, never in step with the others who wait."""

import asyncio
import logging
import random
import time

logger = logging.getLogger(__name__)

REPEAT_SECONDS = 10.0


class Backoff:
    """Delays that double from `first_seconds` to `max_seconds`, each drawn from its upper half."""

    def __init__(self, first_seconds: float = 0.1, max_seconds: float = 3.0) -> None:
        self._first = first_seconds
        self._max = max_seconds
        self._next = first_seconds
        self._said = ("", 0.0)

    async def wait(self, why: str) -> None:
        """Sleeps for the next delay; logs why, once, and again every ten seconds for as long as it lasts."""
        now = time.monotonic()
        if self._said[0] != why or now - self._said[1] >= REPEAT_SECONDS:
            self._said = (why, now)
            logger.warning("%s; trying again", why)
        delay, self._next = self._next, min(2 * self._next, self._max)
        await asyncio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311  # jitter, no secret

    def reset(self) -> None:
        """What we waited for is back: the next delay is the first again."""
        if self._said[0]:
            logger.info("going on after: %s", self._said[0])
        self._next = self._first
        self._said = ("", 0.0)
