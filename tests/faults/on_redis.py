"""Faults of Redis."""

import asyncio
import shutil
from pathlib import Path

from faults.stored import bucket_statuses
from faults.trial import Fault, Strike
from faults.world import World, until
from rotary.redis.positions import UNKNOWN
from rotary_stack.stack import Stack


async def killed_and_empty(strike: Strike) -> None:
    stack = strike.world.stack
    await stack.kill("redis")
    await asyncio.sleep(1)
    await stack.start("redis", empty=True)


async def older_snapshot(strike: Strike) -> None:
    """What was acknowledged in the last seconds is gone, and Redis does not know it."""
    stack = strike.world.stack
    kept = copied(stack)
    await strike.load.more(2000)
    await stack.kill("redis")
    put_back(stack, kept)
    await stack.start("redis")


async def from_before_a_flush(strike: Strike) -> None:
    """Emptied, read anew, and back as it was before: the consumers know of more than it does."""
    world, stack = strike.world, strike.world.stack
    kept = copied(stack)
    await world.redis.flushall()
    await until(world.monitors_answer, "the facts are there again")
    await strike.load.more(300)
    await stack.kill("redis")
    put_back(stack, kept)
    await stack.start("redis")


def _data(stack: Stack) -> Path:
    return Path(stack.status().programs["redis"].data or "")


def copied(stack: Stack) -> Path:
    """Redis' files as they are now."""
    return Path(shutil.copytree(_data(stack), _data(stack).with_name("redis-earlier")))


def put_back(stack: Stack, kept: Path) -> None:
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


async def interrupted_while_read_anew(strike: Strike) -> None:
    """Emptied; as the logs are read anew, Redis dies, then those who read them."""
    world = strike.world
    await world.redis.flushall()
    await until(lambda: _is_partly_read(world), "the logs are read anew")
    await world.stack.restart("redis")
    await until(lambda: _is_partly_read(world), "the logs are read anew again")
    await world.stack.kill("consumer")
    strike.ends()
    await world.stack.start("consumer")


async def _is_partly_read(world: World) -> bool:
    """Some bucket has a position in some log."""
    _, known = await bucket_statuses(world.redis)
    return any(one != UNKNOWN for one in known)


async def every_connection_lost(strike: Strike) -> None:
    """The subscription's and all others, five times: the query service comes back to its speed each time."""
    world = strike.world
    for _ in range(5):
        for client in await world.redis.client_list():
            if client["user"] == "rotary" and client["sub"] == "1":
                await world.redis.client_kill(client["addr"])
        await world.redis.client_kill_filter(_type="normal", user="rotary", skipme=True)
        await strike.load.more(200)
    strike.ends()


FAULTS = (
    Fault("Redis killed, back empty", killed_and_empty, readable=False, short=True),
    Fault("Redis back from an older snapshot", older_snapshot, readable=False, short=True),
    Fault("Redis back from before a FLUSHALL", from_before_a_flush, readable=False),
    Fault("FLUSHALL", flushed, readable=False),
    Fault("Redis refuses writes", refusing_writes),
    Fault("Redis, then the consumers die while the logs are read anew", interrupted_while_read_anew, readable=False),
    Fault("every connection to Redis lost, five times", every_connection_lost, readable=False),
)
