"""What keeping the positions fresh costs Redis while nothing happens: every log's in every bucket, twice a second."""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from statistics import median
from time import monotonic

from redis.asyncio import Redis

from benchmarks.folding import own_database
from benchmarks.own_redis import redis_server
from benchmarks.processes import service
from benchmarks.run import Run
from benchmarks.table import Row, at_most
from integration.private_vhost import private_vhost
from rotary.rabbitmq import topology
from rotary.redis import keys
from rotary.redis.connection import connect, load_functions
from rotary.redis.pipeline import Pipeline
from rotary.redis.positions import Positions
from rotary_consumer.marking import MARKER_SECONDS

ADVANCES = 50
"""Of each log in one round, when they are made as fast as they go."""
SECONDS = 2.0
"""Of one round at the readers' pace."""
LOGS = [log.name for log in topology.default_logs()]


async def measure(run: Run) -> None:
    """Every row about an idle Redis."""
    if not any(run.wants(f"idle.{name}") for name in ("positions", "consumer")):
        return
    async with redis_server(run, run.cores.measured) as url:
        await run.each({"idle.positions": partial(positions, run, url), "idle.consumer": partial(consumer, run, url)})


async def positions(run: Run, url: str) -> Sequence[Row]:
    """The advances alone: as fast as they go, and at the readers' pace, with whatever grows cold in between."""
    async with connect(f"{url}/0") as redis:
        await load_functions(redis)
        pipeline = Pipeline(redis)
        try:
            advancing = _Advancing(redis, Positions(pipeline))
            await advancing.microseconds()  # from nothing: once in a bucket's life
            each = [await advancing.microseconds() for _ in range(run.scale.rounds)]
            alone = await _share(redis, asyncio.sleep(SECONDS))
            shares = [await _share(redis, advancing.at_pace()) - alone for _ in range(run.scale.long_drains)]
        finally:
            await pipeline.close()
            await redis.flushdb()
    return [
        Row(
            case="keeping the positions of every bucket in every log fresh",
            figure=100 * median(shares),
            unit="% of a core",
            goal=at_most(1),
            detail=f"of Redis' CPU time: {keys.BUCKETS} buckets × {len(LOGS)} logs × {1 / MARKER_SECONDS:.0f}/s",
            samples={"% of a core": [100 * share for share in shares]},
        ),
        Row(
            case="  one position once, many in a row",
            figure=median(each),
            unit="µs",
            detail="of Redis' CPU time",
            samples={"µs": each},
        ),
    ]


class _Advancing:
    """Every log in turn, in every bucket, as their readers do."""

    def __init__(self, redis: Redis, positions: Positions) -> None:
        self._redis = redis
        self._positions = positions
        self._to = 0

    async def microseconds(self) -> float:
        """What one position costs the server."""
        before = await _cpu_seconds(self._redis)
        for _ in range(ADVANCES):
            await self._advance(0)
        spent = await _cpu_seconds(self._redis) - before
        return spent * 1e6 / (ADVANCES * len(LOGS) * keys.BUCKETS)

    async def at_pace(self) -> None:
        """For some seconds, twice a second, each log at a time of its own."""
        for _ in range(round(SECONDS / MARKER_SECONDS)):
            await self._advance(MARKER_SECONDS / len(LOGS))

    async def _advance(self, pause: float) -> None:
        reached: list[int | None] = [self._to or None] * keys.BUCKETS
        self._to += 1
        for log in LOGS:
            await asyncio.sleep(pause)
            now_ms = await self._positions.now_ms()
            failed = await self._positions.advance(log, self._to, now_ms, LOGS, reached)
            assert not failed.behind
            assert not failed.replaced


async def _cpu_seconds(redis: Redis) -> float:
    """Of the thread that answers. Not the commands' own times: those include what the machine did meanwhile."""
    cpu = await redis.info("cpu")
    return float(cpu["used_cpu_user_main_thread"]) + float(cpu["used_cpu_sys_main_thread"])


async def consumer(run: Run, url: str) -> Sequence[Row]:
    """A consumer that nobody gives anything to fold: positions, leases, and what its projector asks."""
    async with AsyncExitStack() as stack:
        rabbitmq = stack.enter_context(private_vhost(run.servers.rabbitmq))
        postgres = await stack.enter_async_context(own_database(run))
        settings = run.servers.settings(0, rabbitmq, postgres) | {"ROTARY_REDIS_URL": f"{url}/0"}
        redis = await stack.enter_async_context(connect(f"{url}/0"))
        alone = await _share(redis, asyncio.sleep(SECONDS))
        await stack.enter_async_context(service(run.cores.rest, "rotary_consumer", settings))
        shares = [await _share(redis, asyncio.sleep(SECONDS)) - alone for _ in range(run.scale.long_drains)]
    return [
        Row(
            case="Redis beside an idle consumer: what all that is asked of it costs",
            figure=100 * median(shares),
            unit="% of a core",
            detail=f"{keys.BUCKETS} buckets × {len(LOGS)} logs, leases and definitions included; without a consumer"
            f" {alone:.2%}",
            samples={"% of a core": [100 * share for share in shares]},
        )
    ]


async def _share(redis: Redis, meanwhile: Awaitable[None]) -> float:
    """Of a core that Redis uses."""
    before, began = await _cpu_seconds(redis), monotonic()
    await meanwhile
    return (await _cpu_seconds(redis) - before) / (monotonic() - began)
