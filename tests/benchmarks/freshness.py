"""How soon what happened can be read: from a published event, and from a committed row, to an answer that shows it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from time import perf_counter  # the loop's own clock ticks in whole milliseconds
from typing import NamedTuple

import aiohttp
import msgspec
from msgspec import Struct

from benchmarks.rounds import percentile
from benchmarks.run import Run
from benchmarks.table import Row, at_most
from benchmarks.world import Customer, Group, World, open_world
from rotary.publisher import Publisher

RATE = 2_000.0
PROBES_A_SECOND = 50.0
POLL_SECONDS = 0.001
BUSY_GROUPS = 20
STREAMED_GROUPS = 10
"""Each gets every tenth probe: a stream shows a group at most ten times a second, and that is not what is measured."""
LATE_SECONDS = 10.0


async def measure(run: Run) -> None:
    """Every row about freshness; all programs on all cores, as the system would run."""
    if not any(run.wants(f"freshness.{name}") for name in ("events", "definitions")):
        return
    with run.on_all_cores():
        async with open_world(run, run.cores.all, run.cores.all) as world:
            freshness = Freshness(run, world, await world.customer())
            await run.each({"freshness.events": freshness.events, "freshness.definitions": freshness.definitions})


class _Member(Struct):
    caller_id_id: int
    calls_today: int


class _Monitor(Struct):
    members: list[_Member]


class _Body(Struct):
    data: _Monitor


class _Detail(Struct):
    description: str


class _DetailBody(Struct):
    data: _Detail


_decode = msgspec.json.Decoder(_Body).decode
_decode_detail = msgspec.json.Decoder(_DetailBody).decode


class Sighting:
    """A caller ID that only probes call: the n-th is visible when the monitor counts n."""

    def __init__(self, caller: int) -> None:
        self.caller = caller
        self.seconds: list[float] = []
        """Of each probe that was seen, from publishing to seeing."""
        self.unseen: deque[tuple[int, float]] = deque()
        self._published = 0

    def publish(self, publisher: Publisher) -> None:
        """Publishes a probe."""
        self._published += 1
        self.unseen.append((self._published, perf_counter()))
        publisher.submit(publisher.events.call_placed(self.caller))

    def look(self, body: bytes) -> None:
        """Reads a monitor that was received just now."""
        now = perf_counter()
        count = next(member.calls_today for member in _decode(body).data.members if member.caller_id_id == self.caller)
        while self.unseen and self.unseen[0][0] <= count:
            self.seconds.append(now - self.unseen.popleft()[1])


class Probes(NamedTuple):
    """Who is looked for in a polled monitor, and who on the streams."""

    polled: Sighting
    streamed: Sequence[Sighting]


class Freshness:
    """The cases, on one customer."""

    def __init__(self, run: Run, world: World, customer: Customer) -> None:
        self.run = run
        self.world = world
        self.customer = customer

    async def events(self) -> Sequence[Row]:
        """Probes among 2,000 events a second."""
        busy = [await self.world.group(self.customer) for _ in range(BUSY_GROUPS)]
        quiet = [await self.world.group(self.customer) for _ in range(STREAMED_GROUPS)]
        # The polled group is one of the busy ones; its last member is called by probes alone.
        callers = [caller for group in busy for caller in group.callers if caller != busy[0].callers[-1]]
        probes = Probes(Sighting(busy[0].callers[-1]), [Sighting(group.callers[0]) for group in quiet])
        async with (
            self.world.dialled(self.customer, callers, RATE, self.run.cores.all),
            aiohttp.ClientSession(headers=self.customer.headers) as session,
            self._watching(session, busy[0], quiet, probes),
        ):
            await self._publish(probes)
        streamed = [seconds for sighting in probes.streamed for seconds in sighting.seconds]
        return [
            *_rows("event published → in /monitor, at 2,000 events/s", probes.polled.seconds),
            *_rows("event published → on a stream, at 2,000 events/s", streamed),
        ]

    async def _publish(self, probes: Probes) -> None:
        jitter, count = Random(1), round(self.run.scale.probe_seconds * PROBES_A_SECOND)
        url, customer = self.run.servers.rabbitmq, self.customer.id
        async with Publisher(url, customer_id=customer, source="/benchmark/probe") as publisher:
            for number in range(count):
                probes.polled.publish(publisher)
                probes.streamed[number % len(probes.streamed)].publish(publisher)
                await asyncio.sleep(jitter.uniform(0.5, 1.5) / PROBES_A_SECOND)
        async with asyncio.timeout(LATE_SECONDS):
            while any(sighting.unseen for sighting in (probes.polled, *probes.streamed)):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    @asynccontextmanager
    async def _watching(
        self, session: aiohttp.ClientSession, busy: Group, quiet: Sequence[Group], probes: Probes
    ) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            streams = []
            for group in quiet:
                answer = session.get(
                    self.world.base + group.monitor,
                    headers={"Accept": "text/event-stream"},
                    timeout=aiohttp.ClientTimeout(total=None),
                )
                streams.append(await stack.enter_async_context(answer))
            tasks = [asyncio.create_task(_poll(session, self.world.base + busy.monitor, probes.polled))]
            tasks += [
                asyncio.create_task(_follow(stream, sighting))
                for stream, sighting in zip(streams, probes.streamed, strict=True)
            ]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
            for result in results:
                if isinstance(result, Exception):
                    raise result

    async def definitions(self) -> Sequence[Row]:
        """A group's description, written with SQL, again and again."""
        group = await self.world.group(self.customer)
        async with aiohttp.ClientSession(headers=self.customer.headers) as session:
            changes = [f"Change {number}" for number in range(self.run.scale.definition_changes)]
            seconds = [await self.change(session, group, change) for change in changes]
        return [
            _row("definition row committed → visible: p99", seconds, 0.99, 1_000),
            _row("definition row committed → visible: p50", seconds, 0.5, None),
        ]

    async def change(self, session: aiohttp.ClientSession, group: Group, description: str) -> float:
        """Commits a change of a group; how long until it is visible."""
        await self.world.postgres.execute(
            "UPDATE caller_id_groups SET description = $1 WHERE id = $2", description, group.id
        )
        committed = perf_counter()
        async with asyncio.timeout(LATE_SECONDS):
            while True:
                async with session.get(self.world.base + group.path) as answer:
                    if _decode_detail(await answer.read()).data.description == description:
                        return perf_counter() - committed
                await asyncio.sleep(POLL_SECONDS)


async def _poll(session: aiohttp.ClientSession, url: str, sighting: Sighting) -> None:
    while True:
        async with session.get(url) as answer:
            answer.raise_for_status()
            sighting.look(await answer.read())
        await asyncio.sleep(POLL_SECONDS)


async def _follow(stream: aiohttp.ClientResponse, sighting: Sighting) -> None:
    stream.raise_for_status()
    async for line in stream.content:
        if line.startswith(b"data: "):
            sighting.look(line[6:])
    raise RuntimeError("a stream ended")


def _rows(case: str, seconds: Sequence[float]) -> list[Row]:
    return [_row(f"{case}: p50", seconds, 0.5, 10), _row(f"{case}: p99", seconds, 0.99, 30)]


def _row(case: str, seconds: Sequence[float], share: float, goal_ms: float | None) -> Row:
    ms = [second * 1e3 for second in seconds]
    return Row(
        case=case,
        figure=percentile(ms, share),
        unit="ms",
        goal=None if goal_ms is None else at_most(goal_ms),
        detail=f"{len(ms):,} probes, max {max(ms):.0f} ms",
        samples={f"p{share * 100:.0f}, ms": [percentile(ms, share)], "max, ms": [max(ms)]},
    )
