"""A rebuild's progress: for `rotary-admin rebuild`, for the log, and for whoever waits to take it over."""

import logging
import time

from rotary.clock import Clock
from rotary.redis.state import Progress, StateStore

logger = logging.getLogger(__name__)

REPORT_SECONDS = 0.5
LOG_SECONDS = 5.0


class RebuildLostError(Exception):
    """Another consumer has the rebuild, or Redis was emptied under it."""


class ProgressReport:
    """Publishes a rebuild's progress, logs it now and then, and by both keeps its lock."""

    def __init__(self, store: StateStore, owner: str, clock: Clock) -> None:
        self._store = store
        self._owner = owner
        self._clock = clock
        self._started_ms = clock()
        self._began = self._logged = time.monotonic()
        self._reported = 0.0

    async def report(self, replayed: int, total: int, events: int) -> None:
        """Says how far the replay is. Raises RebuildLostError when it is no longer ours."""
        now = time.monotonic()
        if now - self._reported < REPORT_SECONDS and replayed < total:
            return
        self._reported = now
        progress = Progress(replayed, max(total, replayed), events, self._started_ms, self._clock())
        if not await self._store.report(self._owner, progress):
            raise RebuildLostError("the lock is gone")
        if now - self._logged >= LOG_SECONDS:
            self._logged = now
            rate = replayed / (now - self._began)
            logger.info("rebuilding: %d of about %d messages, %.0f a second", replayed, progress.total, rate)
