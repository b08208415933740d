"""Replaying the log streams through the same fold: bounded by the prefetch, not by how much there is."""

from collections.abc import Awaitable, Callable, Iterator

from aio_pika.abc import AbstractChannel
from pamqp.common import FieldTable

from rotary.clock import Clock
from rotary.rabbitmq import topology
from rotary.rabbitmq.intake import channel, open_intake
from rotary.rabbitmq.messages import Message
from rotary.rabbitmq.ticks import publish_tick, tick_ms
from rotary.redis.fold import Batch
from rotary_consumer import metrics
from rotary_consumer.flights import Flights
from rotary_consumer.sorting import Sorted, Sorter

PREFETCH = 1000
MOST_MESSAGES = 500
MOST_EVENTS = 1_000
MOST_HELD_BYTES = 4_194_304

Fold = Callable[[dict[int, Batch]], Awaitable[None]]
Report = Callable[[int, int, int], Awaitable[None]]
"""Takes (messages replayed, messages in the logs by estimate, events folded); called at least once a second."""


class Segment:
    """Holds messages until the tick that follows them, then sorts them.

    That tick was published when they were first folded: by it their events' times are judged as they were then. Where
    it is far away, as after a long silence of all consumers, the present stands for it.
    """

    def __init__(self, log: str) -> None:
        self._log = log
        self._sorter = Sorter(log)
        self._held: list[Message] = []
        self._bytes = 0
        self._sorted = Sorted()

    def add(self, message: Message, clock: Clock) -> Iterator[Sorted]:
        """Takes one more; gives what has become enough for a fold."""
        self._held.append(message)
        self._bytes += len(message.body)
        before_ms = tick_ms(message, self._log)
        if before_ms is None and self._bytes > MOST_HELD_BYTES:
            before_ms = clock()
        if before_ms is not None:
            for one in self._held:
                self._sorter.sort((one,), before_ms, self._sorted)
                if self._sorted.events >= MOST_EVENTS:
                    yield self.sorted()
            self._held.clear()
            self._bytes = 0

    def sorted(self) -> Sorted:
        """What has been sorted since this was last asked."""
        found, self._sorted = self._sorted, Sorted()
        return found


class Replay:
    """One pass over both logs, from a moment of arrival to the moment it began."""

    def __init__(self, url: str, fold: Fold, report: Report, clock: Clock) -> None:
        self._url = url
        self._fold = fold
        self._report = report
        self._clock = clock
        self._replayed = 0
        self._events = 0
        self._total = 0

    async def run(self, since_ms: int | None) -> None:
        """Replays what arrived from `since_ms` on (UTC milliseconds; None is all there is).

        Refused events are skipped: they were parked when they came first. Raises UnavailableError when a server goes
        away, FenceError when Redis is emptied meanwhile: begin again.
        """
        async with channel(self._url, confirms=True) as publishing:
            await topology.declare(publishing)
            for log in topology.LOGS:
                queue = await publishing.declare_queue(log, passive=True)
                self._total += queue.declaration_result.message_count or 0
            for log in topology.LOGS:
                await self._replay(publishing, log, since_ms)
            await self._report(self._replayed, self._replayed, self._events)

    async def _replay(self, publishing: AbstractChannel, log: str, since_ms: int | None) -> None:
        segment, ended = Segment(log), False
        async with open_intake(self._url, log, PREFETCH, self._offset(since_ms)) as (intake, _), Flights() as flights:
            # A stream has no end of its own: we stop at this tick, put there once we are sure to be delivered it.
            end = await publish_tick(publishing, log, self._clock())
            while not ended:
                messages = await intake.take(MOST_MESSAGES)
                for message in messages:
                    for found in segment.add(message, self._clock):
                        await self._launch(found, flights)
                    # Others tick too while they fold: ours is looked for by what it holds.
                    ended = ended or message.body == end
                await self._launch(segment.sorted(), flights)
                if messages:
                    await intake.acknowledge(messages[-1].tag)
                self._replayed += len(messages)
                metrics.REPLAYED.inc(len(messages))
                await self._report(self._replayed, self._total, self._events)
            await flights.land()

    async def _launch(self, found: Sorted, flights: Flights) -> None:
        async def finish() -> None:
            self._events += found.events

        await flights.launch(self._fold(found.batches), finish)

    def _offset(self, since_ms: int | None) -> FieldTable:
        """As an age, which the broker measures by its own clock: by a moment of ours, one whose clock is behind would
        leave out as much as it is behind."""
        if since_ms is None:
            return {"x-stream-offset": "first"}
        return {"x-stream-offset": f"{max(self._clock() - since_ms, 0) // 1000 + 1}s"}
