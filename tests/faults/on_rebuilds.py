"""Faults of rebuilds on demand: readers are answered all the time."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from signal import SIGCONT, SIGSTOP

import msgspec

from faults.on_consumers import CONSUMERS
from faults.trial import Fault, Strike
from faults.world import World, until
from rotary.redis import keys

PAUSE_SECONDS = 3.0


class _Rebuilt(msgspec.Struct):
    generation: int
    messages: int


async def rebuilt_on_demand(strike: Strike) -> None:
    """Nobody notices."""
    process = await _begin(strike.world)
    strike.ends()
    assert (await _completed(process)).messages > 0


async def rebuilt_by_paused_hands(strike: Strike) -> None:
    """Who asked for it sleeps, and one of those who do it; the other completes it, and the late do no harm."""
    world = strike.world
    before = int(await world.redis.hget(keys.REBUILD, "current") or 0)
    process = await _begin(world)
    await until(lambda: world.redis.hget(keys.REBUILD, "building"), "a rebuild has begun")
    pid = await world.pid(CONSUMERS[0])
    os.kill(process.pid, SIGSTOP)
    os.kill(pid, SIGSTOP)
    try:
        await asyncio.sleep(PAUSE_SECONDS)
    finally:
        os.kill(pid, SIGCONT)
    await strike.load.more(200)
    await until(lambda: _is_over(world), "the rebuild is complete without its admin")
    os.kill(process.pid, SIGCONT)
    strike.ends()
    # What it tells is its own affair: for all it knows Redis did not answer.
    await process.communicate()
    assert int(await world.redis.hget(keys.REBUILD, "current") or 0) == before + 1


async def killed_while_rebuilt(strike: Strike) -> None:
    """Both consumers die in the middle; those that follow complete it, and only one generation is left."""
    world = strike.world
    process = await _begin(world)
    await until(lambda: world.redis.hget(keys.REBUILD, "building"), "a rebuild has begun")
    await asyncio.sleep(0.3)
    await world.stack.kill("consumer")
    await world.stack.start("consumer")
    strike.ends()
    current = (await _completed(process)).generation
    await until(lambda: _is_alone(world, current), "the replaced generation is removed")


async def _begin(world: World) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "rotary_admin", "rebuild", "--yes", "--json", env=world.stack.environ(), stdout=PIPE
    )  # fmt: skip


async def _completed(process: Process) -> _Rebuilt:
    output, _ = await process.communicate()
    assert process.returncode == 0
    return msgspec.json.decode(output, type=_Rebuilt)


async def _is_over(world: World) -> bool:
    return await world.redis.hget(keys.REBUILD, "building") is None


async def _is_alone(world: World, generation: int) -> bool:
    names = [name.decode() async for name in world.redis.scan_iter(match="{b*:seen:*", count=1000)]
    return all(name.partition("}")[2].startswith(f"{generation}/") for name in names)


FAULTS = (
    Fault("rebuild on demand", rebuilt_on_demand),
    Fault("rebuild, with its admin and a consumer paused", rebuilt_by_paused_hands),
    Fault("rebuild, with all consumers killed amid it", killed_while_rebuilt),
)
