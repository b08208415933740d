"""The fold loop: takes deliveries in batches, folds them, parks what cannot be folded, then acknowledges.

Acknowledged is only what Redis has answered for. Whatever dies in between, the broker delivers again, and the fold
knows what it has seen.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rotary.clock import Clock
from rotary.errors import UnavailableError
from rotary.process.backoff import Backoff
from rotary.rabbitmq import topology
from rotary.rabbitmq.intake import Intake, channel, open_intake
from rotary.redis.fold import Batch, FenceError, Folder
from rotary_consumer import metrics
from rotary_consumer.flights import Flights
from rotary_consumer.parking import Parking
from rotary_consumer.recovery import Recovery
from rotary_consumer.settings import Settings
from rotary_consumer.sorting import Sorted, Sorter
from rotary_consumer.watermark import Watermark

logger = logging.getLogger(__name__)

MOST_MESSAGES = 500


class FoldLoop:
    """Consumes the work queue until told to stop."""

    def __init__(
        self,
        settings: Settings,
        folder: Folder,
        recovery: Recovery,
        sorter: Sorter,
        watermark: Watermark,
        clock: Clock,
    ) -> None:
        self._url = settings.rabbitmq_url
        self._prefetch = settings.prefetch
        self._folder = folder
        self._recovery = recovery
        self._sorter = sorter
        self._watermark = watermark
        self._clock = clock
        self._stopping = asyncio.Event()
        self._unfinished = 0
        self.connected = False

    def stop(self) -> None:
        """Ends `run` after what was delivered so far has been folded."""
        self._stopping.set()

    async def stopping(self) -> None:
        """Returns once `stop` was called."""
        await self._stopping.wait()

    async def run(self) -> None:
        """Folds until `stop`; reconnects, and declares everything anew, for as long as the broker is away."""
        backoff = Backoff()
        while not self._stopping.is_set():
            try:
                async with self._connected() as (intake, parking, watch):
                    logger.info("folding from %s", topology.FOLD)
                    backoff.reset()
                    await self._consume(intake, parking, watch)
            except UnavailableError as error:
                await backoff.wait(error.what)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[Intake, Parking, asyncio.Task[None]]]:
        # Two connections: a memory alarm blocks the one that publishes, and folding must go on.
        async with channel(self._url, confirms=True) as publishing:
            await topology.declare(publishing)
            async with open_intake(self._url, topology.FOLD, self._prefetch) as (intake, consuming):
                watch = asyncio.create_task(
                    self._watermark.watch(consuming, publishing, lambda: not intake.held and not self._unfinished)
                )
                try:
                    self.connected = True
                    yield intake, Parking(publishing, self._clock), watch
                finally:
                    self.connected = False
                    self._unfinished = 0
                    watch.cancel()
                    await asyncio.wait([watch])

    async def _consume(self, intake: Intake, parking: Parking, watch: asyncio.Task[None]) -> None:
        async with Flights() as flights:
            while not self._stopping.is_set():
                await self._fold_some(intake, parking, flights)
                if watch.done():
                    watch.result()
                    raise UnavailableError("RabbitMQ closed the channel that keeps the watermark")
            await intake.stop()
            while intake.held:
                await self._fold_some(intake, parking, flights)
            await flights.land()

    async def _fold_some(self, intake: Intake, parking: Parking, flights: Flights) -> None:
        messages = await intake.take(MOST_MESSAGES)
        if not messages:
            return await flights.look()
        began = time.perf_counter()
        self._unfinished += len(messages)
        found = self._sorter.sort(messages, self._clock(), Sorted())
        folded_until_ms = self._sorter.after_ms

        async def finish() -> None:
            await parking.park(found.refused)
            await intake.acknowledge(messages[-1].tag)
            self._unfinished -= len(messages)
            self._watermark.folded(folded_until_ms, found.logs)
            metrics.MESSAGES.inc(len(messages))
            metrics.EVENTS.inc(found.events)
            metrics.HELD.set(len(intake.held))
            metrics.FOLD_SECONDS.observe(time.perf_counter() - began)

        return await flights.launch(self._commit(found.batches), finish)

    async def _commit(self, batches: dict[int, Batch]) -> None:
        """Returns once Redis has everything, however long that takes: nothing more is taken meanwhile."""
        backoff = Backoff(most=1.0)
        while batches and not await self._fold(batches, backoff):
            pass

    async def _fold(self, batches: dict[int, Batch], backoff: Backoff) -> bool:
        await self._recovery.settled()
        try:
            await self._folder.fold(batches)
        except FenceError as error:
            self._recovery.unsettle(error)
        except UnavailableError as error:
            await backoff.wait(f"{error.what}: holding {self._unfinished} messages")
        else:
            return True
        return False
