"""Faults of Redis."""

import asyncio
import shutil
import sys
from pathlib import Path

import msgspec

from faults.trial import Fault, Strike
from faults.world import World, until
from rotary.redis import keys
from rotary_stack.stack import Stack


async def killed_and_empty(strike: Strike) -> None:
    stack = strike.world.stack
    await stack.kill("redis")
    await asyncio.sleep(1)
    await stack.start("redis", empty=True)


async def older_snapshot(strike: Strike) -> None:
    """What was acknowledged in the last seconds is gone, and Redis does not know it."""
    stack = strike.world.stack
    kept = _copied(stack)
    await strike.load.more(2000)
    await stack.kill("redis")
    _put_back(stack, kept)
    await stack.start("redis")


async def from_before_a_generation(strike: Strike) -> None:
    """Emptied, rebuilt, and back as it was before: the consumers know a newer generation than it does."""
    world, stack = strike.world, strike.world.stack
    kept = _copied(stack)
    await world.redis.flushall()
    await until(world.monitors_answer, "the facts are rebuilt")
    await strike.load.more(300)
    await stack.kill("redis")
    _put_back(stack, kept)
    await stack.start("redis")


def _data(stack: Stack) -> Path:
    return Path(stack.status().programs["redis"].data or "")


def _copied(stack: Stack) -> Path:
    """Redis' files as they are now."""
    return Path(shutil.copytree(_data(stack), _data(stack).with_name("redis-earlier")))


def _put_back(stack: Stack, kept: Path) -> None:
    shutil.rmtree(_data(stack))
    kept.rename(_data(stack))


async def flushed(strike: Strike) -> None:
    await strike.world.redis.flushall()


async def refusing_writes(strike: Strike) -> None:
    """Reads go on: memory is full, nothing is lost."""
    redis = strike.world.redis
    await redis.config_set("maxmemory", "1mb")
    await asyncio.sleep(3)
    await redis.config_set("maxmemory", "0")


async def rebuilt_on_demand(strike: Strike) -> None:
    """Everything but the monitor is read meanwhile. Many keys, so that removing them takes a while."""
    world, watch = strike.world, strike.watch
    await _fill(world)
    before, known = len(watch.readings), len(world.ledger.confirmed)
    strike.ends()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "rotary_admin", "rebuild", "--yes", "--json",
        env=world.stack.environ(), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0
    assert msgspec.json.decode(output, type=_Rebuilt).events >= known
    meanwhile = watch.readings[before:]
    assert any(reading.is_monitor and reading.status == 503 for reading in meanwhile)
    assert all(reading.status == 200 for reading in meanwhile if not reading.is_monitor)


class _Rebuilt(msgspec.Struct):
    events: int


async def _fill(world: World) -> None:
    """Facts of a customer that nobody has."""
    pipeline = world.redis.pipeline(transaction=False)
    for caller in range(20_000):
        pipeline.set(keys.calls(999_999, caller, 1), b"")
    await pipeline.execute()


async def interrupted_while_rebuilt(strike: Strike) -> None:
    """Emptied; as it is rebuilt, Redis dies, then those who rebuild it."""
    world = strike.world
    await world.redis.flushall()
    await until(lambda: world.redis.exists(keys.REBUILD), "a rebuild has begun")
    await world.stack.restart("redis")
    await until(lambda: world.redis.exists(keys.REBUILD), "a rebuild has begun again")
    await world.stack.kill("consumer")
    strike.ends()
    await world.stack.start("consumer")


FAULTS = (
    Fault("Redis killed, back empty", killed_and_empty, readable=False, short=True),
    Fault("Redis back from an older snapshot", older_snapshot, readable=False, short=True),
    Fault("Redis back from before a FLUSHALL", from_before_a_generation, readable=False),
    Fault("FLUSHALL", flushed, readable=False),
    Fault("Redis refuses writes", refusing_writes),
    Fault("rebuild on demand", rebuilt_on_demand, readable=False),
    Fault("Redis, then the consumers die during a rebuild", interrupted_while_rebuilt, readable=False),
)
