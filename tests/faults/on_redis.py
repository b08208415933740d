"""Faults of Redis."""

import asyncio
import shutil
from pathlib import Path

from faults.trial import Fault, Strike
from faults.world import until


async def killed_and_empty(strike: Strike) -> None:
    stack = strike.world.stack
    await stack.kill("redis")
    await asyncio.sleep(1)
    await stack.start("redis", empty=True)


async def older_snapshot(strike: Strike) -> None:
    """What was acknowledged in the last seconds is gone, and Redis does not know it."""
    stack = strike.world.stack
    data = Path(stack.status().programs["redis"].data or "")
    kept = data.with_name("redis-earlier")
    shutil.copytree(data, kept)
    await strike.load.more(2000)
    await stack.kill("redis")
    shutil.rmtree(data)
    kept.rename(data)
    await stack.start("redis")


async def flushed(strike: Strike) -> None:
    await strike.world.redis.flushall()


async def refusing_writes(strike: Strike) -> None:
    """Reads go on: memory is full, nothing is lost."""
    redis = strike.world.redis
    await redis.config_set("maxmemory", "1mb")
    await asyncio.sleep(3)
    await redis.config_set("maxmemory", "0")


async def distrusted(strike: Strike) -> None:
    """A rebuild on demand: the facts are rebuilt, and all but the monitor is read meanwhile."""
    world, watch = strike.world, strike.watch
    before = len(watch.readings)
    await world.state.distrust(all_of_it=True)

    async def rebuilt() -> bool:
        return (await world.state.read()).is_ready

    await until(rebuilt, "the facts are rebuilt")
    meanwhile = watch.readings[before:]
    assert any(reading.is_monitor and reading.status == 503 for reading in meanwhile)
    assert all(reading.status == 200 for reading in meanwhile if not reading.is_monitor)


FAULTS = (
    Fault("Redis killed, back empty", killed_and_empty, short=True),
    Fault("Redis back from an older snapshot", older_snapshot, short=True),
    Fault("FLUSHALL", flushed),
    Fault("Redis refuses writes", refusing_writes),
    Fault("rebuild on demand", distrusted),
)
