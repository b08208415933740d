"""Exponential backoff with jitter, for waiting until a server is back."""

import asyncio
import random
import time

import structlog

_log = structlog.get_logger(__name__)

REPEAT_SECONDS = 10.0


class Backoff:
    """Delays that double from `first_seconds` to `max_seconds`, each with a jitter of up to half."""

    def __init__(self, first_seconds: float = 0.1, max_seconds: float = 3.0) -> None:
        self._first = first_seconds
        self._max = max_seconds
        self._next = first_seconds
        self._logged = ("", 0.0)

    async def wait(self, why: str) -> None:
        """Sleeps for the next delay. Logs the reason at once, and every ten seconds while it lasts."""
        now = time.monotonic()
        if self._logged[0] != why or now - self._logged[1] >= REPEAT_SECONDS:
            self._logged = (why, now)
            _log.warning("waiting", reason=why)
        delay, self._next = self._next, min(2 * self._next, self._max)
        await asyncio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311  # jitter is no secret

    def reset(self) -> None:
        """Starts again from the first delay, after success."""
        if self._logged[0]:
            _log.info("continuing", after=self._logged[0])
        self._next = self._first
        self._logged = ("", 0.0)
