"""Replaying the log streams through the same fold: bounded by the prefetch, not by how much there is."""

from collections.abc import Awaitable, Callable

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
MOST_HELD_BYTES = 4_194_304

Fold = Callable[[dict[int, Batch]], Awaitable[None]]
Report = Callable[[int, int, int], Awaitable[None]]
"""Takes (messages replayed, messages in the logs by estimate, events folded); called at least once a second."""


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
        sorter, held, ended = Sorter(log), list[Message](), False
        async with open_intake(self._url, log, PREFETCH, self._offset(since_ms)) as (intake, _), Flights() as flights:
            # A stream has no end of its own: we stop at this tick, put there once we are sure to be delivered it.
            end = await publish_tick(publishing, log, self._clock())
            while not ended:
                messages = await intake.take(MOST_MESSAGES)
                if messages:
                    await intake.acknowledge(messages[-1].tag)
                # Looked for here: while others fold, more ticks follow, and what is held begins at the last of them.
                ended = any(message.body == end for message in messages)
                held = await self._fold_held(sorter, log, held + messages, flights)
                self._replayed += len(messages)
                metrics.REPLAYED.inc(len(messages))
                await self._report(self._replayed, self._total, self._events)
            await flights.land()

    async def _fold_held(self, sorter: Sorter, log: str, held: list[Message], flights: Flights) -> list[Message]:
        """Folds up to the last tick among what is held, and returns that tick and what follows it.

        The tick after a message was published when it was first folded: by it the event's time is judged as it was
        then. Where it is far away, as after a long silence of all consumers, the present stands for it.
        """
        ticks = [(position, ms) for position, message in enumerate(held) if (ms := tick_ms(message, log)) is not None]
        if sum(len(message.body) for message in held) > MOST_HELD_BYTES and not (ticks and ticks[-1][0]):
            ticks = [(len(held), self._clock())]
        begin = 0
        for position, ms in ticks:
            while begin < position:
                end = min(begin + MOST_MESSAGES, position)
                await self._fold_slice(sorter.sort(held[begin:end], ms), flights)
                begin = end
        return held[begin:]

    async def _fold_slice(self, found: Sorted, flights: Flights) -> None:
        async def finish() -> None:
            self._events += found.events

        await flights.launch(self._fold(found.batches), finish)

    def _offset(self, since_ms: int | None) -> FieldTable:
        """As an age, which the broker measures by its own clock: by a moment of ours, one whose clock is behind would
        leave out as much as it is behind."""
        if since_ms is None:
            return {"x-stream-offset": "first"}
        return {"x-stream-offset": f"{max(self._clock() - since_ms, 0) // 1000 + 1}s"}
