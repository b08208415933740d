"""Parking: messages that can't be folded go to a queue of their own, with the reason, for an operator.

Folding does not wait for it. Unconfirmed messages hold back only `parked_to`, from which a restarted consumer decodes
refusals again. While the broker accepts nothing, at most MAX_MESSAGES and MAX_BYTES wait in memory; then reading stops.
"""

import asyncio

import structlog

from rotary.clock import Clock
from rotary.errors import UnavailableError
from rotary.rabbitmq.messages import Refused
from rotary.rabbitmq.parked import park
from rotary.rabbitmq.topology import PARKED
from rotary.runtime.backoff import Backoff
from rotary.runtime.program import cancel_and_wait
from rotary_consumer import metrics
from rotary_consumer.broker_channels import BrokerChannels

_log = structlog.get_logger(__name__)

MAX_MESSAGES = 1_000
MAX_BYTES = 16_777_216


class Parking:
    """Parks the messages that the reader of one log refuses."""

    def __init__(self, channels: BrokerChannels, log: str, clock: Clock) -> None:
        self._channels = channels
        self._log = log
        self._clock = clock
        self._tasks: dict[tuple[int, bytes], asyncio.Task[None]] = {}
        self._bytes = 0
        self._room = asyncio.Event()

    def parked_to(self, end: int) -> int:
        """Every refusal before this offset is on the parked queue. `end` is the first offset not yet decoded."""
        return min((offset for offset, _ in self._tasks), default=end)

    async def submit(self, offset: int, refused: Refused) -> None:
        """Starts parking a message, unless that is under way; returns when there is room for more."""
        key = (offset, refused.body)
        if key in self._tasks:
            return
        _log.warning("parked", routing_key=refused.routing_key, log=self._log, offset=offset, reason=refused.reason)
        metrics.PARKED.labels(refused.code).inc()
        self._bytes += len(refused.body)
        self._tasks[key] = asyncio.create_task(self._park(offset, refused))
        while len(self._tasks) >= MAX_MESSAGES or self._bytes >= MAX_BYTES:
            self._room.clear()
            await self._room.wait()

    async def close(self) -> None:
        """Abandons unconfirmed messages: they are still in the log."""
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
            async with self._channels.channel(PARKED) as channel:
                await park(channel, refused, self._log, offset, self._clock())
        except UnavailableError as error:
            await backoff.wait(f"{error.what}; messages wait to be parked")
            return False
        return True
