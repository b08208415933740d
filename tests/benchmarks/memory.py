"""What a caller ID costs Redis, in bytes and in time, on a server of our own that writes no file."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import Random

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from benchmarks.facts import Facts
from benchmarks.processes import free_port, process, until
from benchmarks.rounds import in_turn, ratio
from benchmarks.run import Run
from benchmarks.table import Row, at_most
from rotary.publisher import EventFactory
from rotary.redis.connection import connect, load_functions
from rotary_stack.binaries import locate

CUSTOMER = 7
CALLS = 200
FURTHER_CALLS = 600
BATCH = 500
GROWTH_BATCHES = 40
"""Batches in one round of the growth case."""
TOGETHER = 8
"""Batches under way while a database is filled: one is made while another is folded."""


async def measure(run: Run) -> None:
    """Every row about memory and its growth."""
    if not any(run.wants(f"memory.{name}") for name in ("caller", "growth")):
        return
    async with _server(run) as url:
        memory = Memory(run, url)
        await run.each({"memory.caller": memory.caller, "memory.growth": memory.growth})


class Filling:
    """One database of the server, and the facts folded into it."""

    def __init__(self, redis: Redis, callers: int) -> None:
        self._redis = redis
        self._facts = Facts(redis)
        self._source = EventFactory("/dialers/hcm-1")
        self._random = Random(callers)
        self._callers = range(1, callers + 1)
        # A working day in Ho Chi Minh City, 8:00 to 20:00, which is inside one day of UTC.
        self._morning = datetime.now(UTC).replace(hour=1, minute=0, second=0, microsecond=0)

    async def place(self, calls: int) -> None:
        """So many calls of every caller ID, at any time of the working day."""
        size = max(1, BATCH // calls)
        for at in range(0, len(self._callers), size * TOGETHER):
            some = (self._callers[at + size * batch :][:size] for batch in range(TOGETHER))
            await asyncio.gather(*(self._fold([caller for caller in part for _ in range(calls)]) for part in some))

    async def microseconds(self) -> float:
        """The server's own time for one event, in batches that each name 500 different caller IDs."""
        await self._redis.config_resetstat()
        for _ in range(GROWTH_BATCHES):
            await self._fold(self._random.sample(self._callers, BATCH))
        spent = (await self._redis.info("commandstats"))["cmdstat_fcall"]["usec"]
        return float(spent) / (GROWTH_BATCHES * BATCH)

    async def _fold(self, callers: Sequence[int]) -> None:
        times = (self._morning + timedelta(seconds=self._random.randrange(12 * 3600)) for _ in callers)
        calls = (self._source.call_placed(caller, time=time) for caller, time in zip(callers, times, strict=True))
        await self._facts.fold(CUSTOMER, calls)


class Memory:
    """The cases."""

    def __init__(self, run: Run, url: str) -> None:
        self._run = run
        self._url = url

    async def caller(self) -> Sequence[Row]:
        """A caller ID with 200 calls today, and with 600 more."""
        callers = self._run.scale.counted_callers
        async with self._database(0) as redis:
            filling = Filling(redis, callers)
            empty = await _used(redis)
            await filling.place(CALLS)
            full = await _used(redis)
            await filling.place(FURTHER_CALLS)
            fuller = await _used(redis)
        each, further = (full - empty) / callers, (fuller - full) / callers / FURTHER_CALLS
        told = f"{callers:,} caller IDs, calls from 8:00 to 20:00"
        return [
            Row(case="Redis memory of a caller ID with 200 calls today", figure=each / 1024, unit="KiB",
                goal=at_most(2.28), detail=told),
            Row(case="its growth with each further call", figure=further, unit="bytes", goal=at_most(10),
                detail=f"{told}, {FURTHER_CALLS} further calls each"),
        ]  # fmt: skip

    async def growth(self) -> Sequence[Row]:
        """Two databases of one server in turn, the same batches; the one knows a thousand times as many caller IDs."""
        scale = self._run.scale
        async with self._database(1) as little, self._database(2) as much:
            few, many = Filling(little, scale.few_callers), Filling(much, scale.many_callers)
            await few.place(1)
            await many.place(1)
            found = await in_turn(scale.rounds, {"few": few.microseconds, "many": many.microseconds})
        return [
            Row(
                case=f"fold time, {scale.few_callers:,} → {scale.many_callers:,} caller IDs",
                figure=ratio(found["many"], found["few"]),
                unit="×",
                goal=at_most(1.5),
                detail=f"{found['few'][-1]:.2f} → {found['many'][-1]:.2f} µs of Redis' own time",
                samples={"few, µs": found["few"], "many, µs": found["many"]},
            )
        ]

    @asynccontextmanager
    async def _database(self, number: int) -> AsyncIterator[Redis]:
        async with connect(f"{self._url}/{number}", timeout_seconds=30) as redis:
            await load_functions(redis)
            yield redis
            await redis.flushdb()


async def _used(redis: Redis) -> int:
    memory = await redis.info("memory")
    return int(memory["used_memory"]) - int(memory["mem_clients_normal"])


@asynccontextmanager
async def _server(run: Run) -> AsyncIterator[str]:
    port = free_port()
    argv = (locate().redis_server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
    options = ("--set-max-intset-entries", "4096", "--dir", str(run.folder))
    async with process(run.cores.measured, *argv, *options), connect(f"redis://127.0.0.1:{port}/0") as redis:

        async def answers() -> bool:
            try:
                return bool(await redis.ping())
            except RedisConnectionError:
                return False

        await until(answers, "Redis answers", 10)
        yield f"redis://127.0.0.1:{port}"
