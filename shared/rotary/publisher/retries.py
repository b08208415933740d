"""Publishing again: after longer pauses each time, and one message of a lane at a time."""

import asyncio
from random import SystemRandom

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0
_random = SystemRandom()


def pause(attempt: int) -> float:
    """Seconds to wait before the attempt after this one, with a spread so that many dialers do not knock at once."""
    longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(attempt, 10))
    return _random.uniform(longest / 2, longest)


class Retries:
    """Messages of one lane that the broker did not take. One is published again until it is taken; then the others go.

    Thousands may wait when a log takes nothing for half a minute: published again one by one they would cost the broker
    more than the dialer's events do.
    """

    def __init__(self) -> None:
        self._first: object | None = None
        self._waiting: dict[asyncio.Future[None], None] = {}
        self._attempt = 0

    async def turn(self, message: object) -> None:
        """Returns when this message is to be published again."""
        if self._first is None:
            self._first = message
        if self._first is message:
            await asyncio.sleep(pause(self._attempt))
            self._attempt += 1
        else:
            await self._until_woken()

    def leave(self, message: object, *, confirmed: bool) -> None:
        """Every message leaves once: confirmed, or given up."""
        if self._first is message:
            self._first = None
        if confirmed:
            self._attempt = 0
            self._wake(len(self._waiting))
        elif self._first is None:
            self._wake(1)

    async def _until_woken(self) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[woken] = None
        try:
            await woken
        finally:
            self._waiting.pop(woken, None)

    def _wake(self, count: int) -> None:
        for woken in list(self._waiting)[:count]:
            del self._waiting[woken]
            if not woken.done():
                woken.set_result(None)
