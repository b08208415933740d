"""How fast an emptied Redis is rebuilt from the logs, against how fast the same messages drain when they came.

Two consumers, each with a broker's virtual host and a Redis database of its own, hold the same messages: one rebuilds,
the other drains. They take turns of half a second, one running while the other stands still, so that whatever the
machine does besides strikes both. A rate is that of a consumer's own time.

Noticing that Redis is empty and opening the logs anew takes the same time however long they are: a row of its own.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from itertools import count, pairwise
from signal import SIGCONT, SIGSTOP
from statistics import median
from time import monotonic

from msgspec import Struct
from redis.asyncio import Redis

from benchmarks.calls import CUSTOMERS, Calls, calls, publish
from benchmarks.folding import Ours, Progress, own_database
from benchmarks.processes import service, until
from benchmarks.rounds import ratio
from benchmarks.run import Run
from benchmarks.table import Row, at_least
from integration.private_vhost import private_vhost
from rotary.redis.connection import connect

DATABASES = (7, 8)
LONGER = 6
"""So many times the messages of a drain elsewhere, so that there are several turns."""
TURN_SECONDS = 0.5
"""A machine is faster or slower for seconds. In half a second a consumer folds several times what it is sent while it
stands still, which the other's time pays for."""
BEGIN, END = 1 / 3, 11 / 12
"""The shares of the messages between which the rates are taken: while all logs are read."""
PATIENCE_SECONDS = 300.0
_customers = count(2_000, CUSTOMERS)


async def measure(run: Run) -> None:
    """Every row about rebuilds."""
    if run.wants("rebuild"):
        await run.each({"rebuild": partial(rebuild, run)})


class _Rates(Struct, frozen=True):
    """Events a second, and the seconds until the first was there again."""

    drained: float
    rebuilt: float
    first: float


async def rebuild(run: Run) -> Sequence[Row]:
    """Each round has virtual hosts, consumers and messages of its own."""
    rounds = [await _round(run) for _ in range(2 * run.scale.long_drains)]
    rebuilt, drained = [one.rebuilt for one in rounds], [one.drained for one in rounds]
    first = [one.first for one in rounds]
    return [
        Row(
            case="an empty Redis rebuilt from the logs, one event a message",
            figure=ratio(rebuilt, drained),
            unit="× drain",
            goal=at_least(1.0),
            detail=f"{median(rebuilt):,.0f} events/s against {median(drained):,.0f} as they came",
            samples={"rebuilt, events/s": rebuilt, "drained, events/s": drained},
        ),
        Row(
            case="  until the first of them is there again",
            figure=median(first),
            unit="s",
            samples={"s": first},
        ),
    ]


def _messages(run: Run) -> int:
    return LONGER * run.scale.single_messages


class _Side(Struct):
    """One consumer, and the Redis database that it folds these messages into."""

    ours: Ours
    redis: Redis
    given: Calls
    seconds: float = 0.0
    steps: list[Progress] = []
    """How many were folded at which of its own seconds."""

    async def reach(self, events: float) -> None:
        """Runs until so many are folded."""
        with self._running():
            await until(partial(self._has_folded, events), f"{events:,.0f} events are folded", PATIENCE_SECONDS)

    async def turn(self) -> None:
        """Runs for TURN_SECONDS."""
        began = monotonic()
        with self._running():
            await asyncio.sleep(TURN_SECONDS)
            self.seconds += monotonic() - began
        self.steps.append(Progress(await self.ours.counted(self.given), self.seconds))

    async def _has_folded(self, events: float) -> bool:
        return await self.ours.counted(self.given) >= events

    def is_past(self, share: float) -> bool:
        """Whether its last turn ended with this share of the messages folded."""
        return bool(self.steps) and self.steps[-1].events >= share * self.given.events

    @property
    def rate(self) -> float:
        """Events a second of its own between BEGIN and END."""
        begin, end = (self._second(share * self.given.events) for share in (BEGIN, END))
        return (END - BEGIN) * self.given.events / (end - begin)

    def _second(self, events: float) -> float:
        """When so many were folded, as if evenly within a turn."""
        before, after = next(pair for pair in pairwise(self.steps) if pair[1].events >= events)
        return before.at + (after.at - before.at) * (events - before.events) / (after.events - before.events)

    @contextmanager
    def _running(self) -> Iterator[None]:
        self.ours.let(SIGCONT)
        try:
            yield
        finally:
            self.ours.let(SIGSTOP)


async def _round(run: Run) -> _Rates:
    given = calls(next(_customers), _messages(run))
    async with AsyncExitStack() as stack:
        rebuilding, draining = [
            await stack.enter_async_context(_stopped(run, database, given)) for database in DATABASES
        ]
        await rebuilding.reach(given.events)
        await rebuilding.redis.flushdb()
        began = monotonic()
        await rebuilding.reach(1)
        first = monotonic() - began
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (draining.is_past(END) and rebuilding.is_past(END)):
                await draining.turn()
                await rebuilding.turn()
        for side in (rebuilding, draining):
            await side.reach(given.events)
    return _Rates(draining.rate, rebuilding.rate, first)


@asynccontextmanager
async def _stopped(run: Run, database: int, given: Calls) -> AsyncIterator[_Side]:
    """A consumer that stands still while its logs hold all of these messages."""
    async with AsyncExitStack() as stack:
        url = stack.enter_context(private_vhost(run.servers.rabbitmq))
        redis = await stack.enter_async_context(connect(run.servers.database(database)))
        await redis.flushdb()
        stack.push_async_callback(redis.flushdb)
        settings = run.servers.settings(database, url, await stack.enter_async_context(own_database(run)))
        started, _ = await stack.enter_async_context(service(run.cores.measured, "rotary_consumer", settings))
        ours = Ours(url, [started], redis)
        ours.let(SIGSTOP)
        stack.callback(ours.let, SIGCONT)
        await publish(url, given.messages)
        yield _Side(ours, redis, given)
