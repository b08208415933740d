"""Tells of events that were not published, for those who forget their futures."""

import asyncio
import logging

from rotary.publisher.errors import PublishError, merged

_SECONDS = 1.0
_log = logging.getLogger("rotary.publisher")


class FailureLog:
    """Logs the first failure at once, and what follows it once a second: an outage fails thousands of messages."""

    def __init__(self) -> None:
        self._untold: list[PublishError] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, error: PublishError) -> None:
        """Logs it, now or soon."""
        self._untold.append(error)
        if self._timer is None:
            self._tell()

    def close(self) -> None:
        """Logs what was not logged yet."""
        self._tell()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self) -> None:
        untold, self._untold = self._untold, []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if untold:
            _log.warning("%s", merged(untold))
            self._timer = asyncio.get_running_loop().call_later(_SECONDS, self._tell)
