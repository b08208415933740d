"""How far this consumer is: the moment before which all that the broker delivered to it has been folded."""

import asyncio
import contextlib
from collections.abc import Callable

from aio_pika.abc import AbstractChannel
from aiormq.exceptions import AMQPError, ChannelInvalidStateError

from rotary.clock import Clock
from rotary.rabbitmq import topology
from rotary.rabbitmq.ticks import publish_tick
from rotary_consumer import metrics
from rotary_consumer.sorting import Sorter

WATCH_SECONDS = 0.5


class RegistrationLostError(Exception):
    """The broker counts nobody on the work queue although we are registered: this process is of no use any more."""


class Watermark:
    """Asks the broker twice a second whether anything waits. If so, a tick goes in behind it, and through the fold.

    `folded_until_ms` is UTC milliseconds, 0 until known.
    """

    def __init__(self, sorter: Sorter, clock: Clock) -> None:
        self._sorter = sorter
        self._clock = clock
        self._logs: set[str] = set()
        self.folded_until_ms = 0

    def folded(self, until_ms: int, logs: set[str]) -> None:
        """All that arrived before `until_ms` has been folded; these logs hold what was new."""
        self._logs |= logs
        self.folded_until_ms = max(self.folded_until_ms, until_ms)

    async def watch(self, channel: AbstractChannel, ticking: AbstractChannel, is_idle: Callable[[], bool]) -> None:
        """Keeps the watermark until a channel is lost. Raises RegistrationLostError."""
        try:
            while True:
                # A memory alarm holds our ticks back for as long as it lasts, and is no reason to stop looking.
                with contextlib.suppress(TimeoutError):
                    await self._look(channel, ticking, is_idle)
                await asyncio.sleep(WATCH_SECONDS)
        except (AMQPError, ChannelInvalidStateError, OSError):
            return  # the fold loop notices too, and opens another

    async def _look(self, channel: AbstractChannel, ticking: AbstractChannel, is_idle: Callable[[], bool]) -> None:
        before_ms = self._clock()
        queue = (await channel.declare_queue(topology.FOLD, passive=True)).declaration_result
        if queue.consumer_count == 0:
            raise RegistrationLostError(f"nobody is registered on {topology.FOLD}: ending, to be started anew")
        if not queue.message_count and is_idle():
            self._sorter.after_ms = max(self._sorter.after_ms, before_ms)
            self.folded(before_ms, set())
        else:
            await publish_tick(ticking, topology.FOLD, before_ms)
        for log in sorted(self._logs):
            await publish_tick(ticking, log, self._clock())
        self._logs.clear()
        metrics.LAG.set((self._clock() - self.folded_until_ms) / 1000)
