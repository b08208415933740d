"""Parking: what can't be folded is kept on a queue of its own, with the reason, for a person to look at.

Folding does not wait for it. What is still on its way holds back only `parked_to`, from where a restarted consumer
looks for refusals again; a broker that takes nothing for long stops a log's reader once so much waits that memory
matters.
"""

import asyncio
import logging

from rotary.clock import Clock
from rotary.errors import UnavailableError
from rotary.rabbitmq.messages import Refused
from rotary.rabbitmq.parked import park
from rotary.rabbitmq.topology import PARKED
from rotary.runtime.backoff import Backoff
from rotary.runtime.program import cancel_and_wait
from rotary_consumer import metrics
from rotary_consumer.publishing import Publishing

logger = logging.getLogger(__name__)

MAX_MESSAGES = 1_000
MAX_BYTES = 16_777_216


class Parking:
    """Parks what one log's reader refuses."""

    def __init__(self, publishing: Publishing, log: str, clock: Clock) -> None:
        self._publishing = publishing
        self._log = log
        self._clock = clock
        self._tasks: dict[tuple[int, bytes], asyncio.Task[None]] = {}
        self._bytes = 0
        self._room = asyncio.Event()

    def parked_to(self, end: int) -> int:
        """All that was refused before this offset is on the parked queue; `end` is how far the log was looked at."""
        return min((offset for offset, _ in self._tasks), default=end)

    async def submit(self, offset: int, refused: Refused) -> None:
        """Begins to park, unless it is on its way already; returns when there is room for more."""
        key = (offset, refused.body)
        if key in self._tasks:
            return
        logger.warning("parking a message of %s at %s:%d: %s", refused.routing_key, self._log, offset, refused.reason)
        metrics.PARKED.labels(refused.reason.partition(":")[0]).inc()
        self._bytes += len(refused.body)
        self._tasks[key] = asyncio.create_task(self._park(offset, refused))
        while len(self._tasks) >= MAX_MESSAGES or self._bytes >= MAX_BYTES:
            self._room.clear()
            await self._room.wait()

    async def close(self) -> None:
        """Gives up what is still on its way: it is in the log."""
        await cancel_and_wait(*self._tasks.values())

    async def _park(self, offset: int, refused: Refused) -> None:
        backoff = Backoff()
        try:
            while not await self._published(offset, refused, backoff):
                pass
        finally:
            self._bytes -= len(refused.body)
            del self._tasks[offset, refused.body]
            self._room.set()

    async def _published(self, offset: int, refused: Refused, backoff: Backoff) -> bool:
        try:
            async with self._publishing.channel(PARKED) as channel:
                await park(channel, refused, self._log, offset, self._clock())
        except UnavailableError as error:
            await backoff.wait(f"{error.what}; what is to be parked waits")
            return False
        return True
