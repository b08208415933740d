"""Logs events that were not published, for callers that do not look at their futures."""

import asyncio
import logging

from rotary.publisher.errors import PublishError, merge_errors

_INTERVAL_SECONDS = 1.0
_log = logging.getLogger("rotary.publisher")


class FailureLog:
    """Logs the first failure at once and later ones once a second, because an outage fails thousands of messages."""

    def __init__(self) -> None:
        self._unlogged: list[PublishError] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, error: PublishError) -> None:
        """Logs the error within a second."""
        self._unlogged.append(error)
        if self._timer is None:
            self._write()

    def close(self) -> None:
        """Logs what is not logged yet."""
        self._write()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _write(self) -> None:
        unlogged, self._unlogged = self._unlogged, []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if unlogged:
            _log.warning("%s", merge_errors(unlogged))
            self._timer = asyncio.get_running_loop().call_later(_INTERVAL_SECONDS, self._write)
