"""How fast a backlog is folded into Redis: the logs are filled while the consumer stands still, then it may run.

Each contender has a virtual host of its own, and takes its turn with the same messages: ours and the bare consumer read
the same four streams, FastStream a queue as one would declare it in a day. A rate is that between the third part and
the end, so that neither waking up nor messages that were prefetched by whoever stood still count.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from itertools import count
from signal import SIGCONT, SIGSTOP
from statistics import median
from time import monotonic
from typing import Protocol

import aio_pika
from msgspec import Struct
from redis.asyncio import Redis

from benchmarks.baselines.faststream_counter import COUNTS, QUEUE
from benchmarks.calls import CUSTOMERS, Calls, calls, publish
from benchmarks.processes import module, process, service, until
from benchmarks.rounds import in_turn, ratio
from benchmarks.run import Run
from benchmarks.stored import calls_stored
from benchmarks.table import Row, at_least
from integration.private_database import private_database
from integration.private_vhost import private_vhost
from rotary.events import EXCHANGE
from rotary.rabbitmq import topology
from rotary.redis.connection import connect

OURS_DATABASE, THEIRS_DATABASE = 5, 6
BATCH = 200
PREFETCH = 1_000
"""Of each stream: ours by default, and the bare consumer's."""
LOOK_SECONDS = 0.03
DRAIN_SECONDS = 60.0
_customers = count(1_000, CUSTOMERS)


async def measure(run: Run) -> None:
    """Every row about folding."""
    if run.wants("folding.backlog"):
        await run.each({"folding.backlog": partial(backlog, run)})
    if run.wants("folding.scale"):
        await run.each({"folding.scale": partial(scale, run)})


class Progress(Struct, frozen=True):
    """So many events were done at a moment of the monotonic clock."""

    events: int
    at: float


class Contender(Protocol):
    """Somebody who reads what is published to a virtual host."""

    url: str

    def let(self, signal: int) -> None:
        """Stops or continues it."""

    async def drained(self, given: Calls) -> list[Progress]:
        """Its progress until all of these events are done."""


async def drain(contender: Contender, given: Calls) -> float:
    """Events a second."""
    contender.let(SIGSTOP)
    try:
        await publish(contender.url, given.messages)
    finally:
        contender.let(SIGCONT)
    async with asyncio.timeout(DRAIN_SECONDS):
        return steady_rate(await contender.drained(given), given)


def steady_rate(progress: Sequence[Progress], given: Calls) -> float:
    """Events a second between the third part and the end."""
    begin = next(step for step in progress if step.events >= given.events / 3)
    end = progress[-1]
    if end.events != given.events:
        raise RuntimeError(f"{end.events:,} events were counted instead of {given.events:,}")
    return (end.events - begin.events) / (end.at - begin.at)


class Ours:
    """Consumers of ours; done is what Redis counts."""

    def __init__(self, url: str, processes: Sequence[asyncio.subprocess.Process], redis: Redis) -> None:
        self.url = url
        self._processes = processes
        self._redis = redis

    def let(self, signal: int) -> None:
        """Stops or continues all of them."""
        for one in self._processes:
            one.send_signal(signal)

    async def drained(self, given: Calls) -> list[Progress]:
        """Looks at the counters."""
        return await _watched(partial(self.counted, given), given.events)

    async def counted(self, given: Calls) -> int:
        """The events that Redis counts."""
        return sum([await calls_stored(self._redis, customer, given.callers) for customer in given.customers])


class Bare:
    """The bare aio-pika consumer; done is what it acknowledged."""

    def __init__(self, url: str, started: asyncio.subprocess.Process) -> None:
        self.url = url
        self._process = started
        self._before = 0

    def let(self, signal: int) -> None:
        """Stops or continues it."""
        self._process.send_signal(signal)

    async def drained(self, given: Calls) -> list[Progress]:
        """Reads what it prints."""
        steps: list[Progress] = []
        while not steps or steps[-1].events < given.events:
            events, at = await self._line()
            steps.append(Progress(events - self._before, at))
        self._before += given.events
        return steps

    async def ready(self) -> None:
        """Returns once it is registered."""
        await asyncio.wait_for(self._line(), 10)

    async def _line(self) -> tuple[int, float]:
        assert self._process.stdout is not None
        events, at = (await self._process.stdout.readline()).split()
        return int(events), float(at)


class FastStreams:
    """The FastStream subscriber; done is what its hash counts."""

    def __init__(self, url: str, started: asyncio.subprocess.Process, redis: Redis) -> None:
        self.url = url
        self._process = started
        self._redis = redis

    def let(self, signal: int) -> None:
        """Stops or continues it."""
        self._process.send_signal(signal)

    async def drained(self, given: Calls) -> list[Progress]:
        """Looks at the hash, which it empties afterwards."""
        steps = await _watched(self._counted, given.events)
        await self._redis.delete(COUNTS)
        return steps

    async def _counted(self) -> int:
        return sum(map(int, await self._redis.hvals(COUNTS)))


async def _watched(counted: Callable[[], Awaitable[int]], events: int) -> list[Progress]:
    steps: list[Progress] = []
    while not steps or steps[-1].events < events:
        await asyncio.sleep(LOOK_SECONDS)
        done = await counted()
        steps.append(Progress(done, monotonic()))
    return steps


async def backlog(run: Run) -> Sequence[Row]:
    """One process of each contender."""
    scale = run.scale
    async with _ours(run, 1, run.cores.measured) as ours, _bare(run) as bare, _faststream(run) as day:
        found = await in_turn(
            scale.drains,
            {
                "single": partial(_drain, ours, scale.single_messages),
                "bare": partial(_drain, bare, scale.single_messages),
                "batch": partial(_drain, ours, scale.batch_messages, BATCH),
                "day": partial(_drain, day, scale.slow_messages),
            },
        )
    single, batch, theirs = found["single"], found["batch"], found["day"]
    return [
        _row("one event a message, end to end into Redis", single, found["bare"], 1.0, "× bare"),
        _row(f"messages of {BATCH} events", batch, single, 10, "× single"),
        _row(f"messages of {BATCH} events, against 150,000/s", batch, [1.5e5] * len(batch), 1.0, "× 150,000/s"),
        _row("one event a message against FastStream", single, theirs, 3, "× FastStream"),
        _row(f"messages of {BATCH} events against FastStream", batch, theirs, 15, "× FastStream"),
    ]


async def _drain(contender: Contender, messages: int, batch: int = 1) -> float:
    return await drain(contender, calls(next(_customers), messages, batch))


async def scale(run: Run) -> Sequence[Row]:
    """One, two and four consumers that share the logs, on all cores, which they share with the broker and Redis."""
    rates: dict[int, list[float]] = {}
    for processes in (1, 2, 4):
        with run.on_all_cores():
            async with _ours(run, processes, run.cores.all) as ours:
                rounds = range(run.scale.long_drains)
                rates[processes] = [await _drain(ours, run.scale.single_messages) for _ in rounds]
    return [
        Row(
            case=f"{processes} consumer processes, one event a message",
            figure=median(rates[processes]) / median(rates[1]),
            unit="× one",
            detail=f"{median(rates[processes]):,.0f} events/s on {len(run.cores.all)} cores",
            samples={"events/s": rates[processes]},
        )
        for processes in (2, 4)
    ]


@asynccontextmanager
async def _ours(run: Run, processes: int, where: frozenset[int]) -> AsyncIterator[Contender]:
    async with AsyncExitStack() as stack:
        url = stack.enter_context(private_vhost(run.servers.rabbitmq))
        redis = await stack.enter_async_context(connect(run.servers.database(OURS_DATABASE)))
        await redis.flushdb()
        settings = run.servers.settings(OURS_DATABASE, url, await stack.enter_async_context(own_database(run)))
        started = [
            (await stack.enter_async_context(service(where, "rotary_consumer", settings)))[0] for _ in range(processes)
        ]
        yield Ours(url, started, redis)
        await redis.flushdb()


@asynccontextmanager
async def _bare(run: Run) -> AsyncIterator[Contender]:
    async with AsyncExitStack() as stack:
        url = await _declared(stack, run)
        argv = module("benchmarks.baselines.bare_consumer", "--url", url, "--prefetch", str(PREFETCH))
        pipe = asyncio.subprocess.PIPE
        bare = Bare(url, await stack.enter_async_context(process(run.cores.measured, *argv, stdout=pipe)))
        await bare.ready()
        yield bare


@asynccontextmanager
async def _faststream(run: Run) -> AsyncIterator[Contender]:
    async with AsyncExitStack() as stack:
        url, database = stack.enter_context(private_vhost(run.servers.rabbitmq)), run.servers.database(THEIRS_DATABASE)
        await _declare_queue(url)
        redis = await stack.enter_async_context(connect(database))
        await redis.flushdb()
        argv = module("benchmarks.baselines.faststream_counter", "--url", url, "--redis", database)
        started = await stack.enter_async_context(process(run.cores.measured, *argv))
        await until(partial(_is_consumed, url), "FastStream consumes")
        yield FastStreams(url, started, redis)


async def _declared(stack: AsyncExitStack, run: Run) -> str:
    url = stack.enter_context(private_vhost(run.servers.rabbitmq))
    async with await aio_pika.connect(url) as connection:
        await topology.declare(await connection.channel())
    return url


async def _declare_queue(url: str) -> None:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
        queue = await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        await queue.bind(exchange, "#")


@asynccontextmanager
async def own_database(run: Run) -> AsyncIterator[str]:
    """A migrated database: it records the logs of one virtual host."""
    opened = ExitStack()  # in threads: it runs event loops of its own
    try:
        yield await asyncio.to_thread(opened.enter_context, private_database(run.servers.postgres))
    finally:
        await asyncio.to_thread(opened.close)


async def _is_consumed(url: str) -> bool:
    async with await aio_pika.connect(url) as connection:
        queue = await (await connection.channel()).declare_queue(QUEUE, passive=True)
        return queue.declaration_result.consumer_count == 1


def _row(case: str, ours: Sequence[float], theirs: Sequence[float], goal: float | None, unit: str) -> Row:
    return Row(
        case=case,
        figure=ratio(ours, theirs),
        unit=unit,
        goal=None if goal is None else at_least(goal),
        detail=f"{median(ours):,.0f} events/s against {median(theirs):,.0f}",
        samples={"ours, events/s": ours, "theirs, events/s": theirs},
    )
