"""Retries of one queue's messages: with growing delays, and one message at a time."""

import asyncio

from rotary.backoff import retry_delay


class Retries:
    """Retries one message until the broker takes it, then releases the others of the queue.

    Thousands of messages may wait when a log takes nothing for half a minute. Retrying each of them would load the
    broker more than the dialer's events do.
    """

    def __init__(self) -> None:
        self._first: object | None = None
        self._waiting: dict[asyncio.Future[None], None] = {}
        self._attempt = 0

    async def wait_turn(self, message: object) -> None:
        """Returns when this message may be published again."""
        if self._first is None:
            self._first = message
        if self._first is message:
            await asyncio.sleep(retry_delay(self._attempt))
            self._attempt += 1
        else:
            await self._wait_released()

    def finish(self, message: object, *, confirmed: bool) -> None:
        """Call it once for every message, when it is confirmed or has failed."""
        if self._first is message:
            self._first = None
        if confirmed:
            self._attempt = 0
            if self._waiting:
                self._release(len(self._waiting))
        elif self._first is None:
            self._release(1)

    async def _wait_released(self) -> None:
        released: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[released] = None
        try:
            await released
        finally:
            self._waiting.pop(released, None)

    def _release(self, count: int) -> None:
        for released in list(self._waiting)[:count]:
            del self._waiting[released]
            if not released.done():
                released.set_result(None)
