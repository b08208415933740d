"""Faults of the consumers."""

import asyncio
import os
import time
from signal import SIGCONT, SIGSTOP

from faults.trial import Fault, Strike
from faults.world import World

CONSUMERS = ("consumer-1", "consumer-2")


async def killed_mid_batch(strike: Strike) -> None:
    """Five times in a row, now the one, now the other, with deliveries in its hands each time."""
    for time_ in range(5):
        name = CONSUMERS[time_ % 2]
        pid = await strike.world.pid(name)
        os.kill(pid, SIGSTOP)
        await strike.load.more(400)
        os.kill(pid, SIGCONT)
        await asyncio.sleep(0.004 * (time_ + 1))
        await strike.world.stack.kill(name)
        strike.ends()
        await strike.world.stack.start(name)


async def stopped_in_turn(strike: Strike) -> None:
    """As an orderly upgrade does: what a consumer holds is folded before it ends, within ten seconds."""
    for name in CONSUMERS:
        began = time.monotonic()
        await strike.world.stack.stop(name)
        assert time.monotonic() - began < 9.5
        await strike.world.stack.start(name)


async def killed_with_redis(strike: Strike) -> None:
    stack = strike.world.stack
    await asyncio.gather(stack.kill("redis"), stack.kill("consumer"))
    await strike.load.more(300)
    await stack.start("redis")
    strike.ends()
    await stack.start("consumer")


async def all_dead(strike: Strike) -> None:
    """Answers go on; how old they are is said beside them."""
    world, began = strike.world, time.monotonic()
    await world.stack.kill("consumer")
    await strike.load.more(500)
    await asyncio.sleep(max(0.0, began + 4 - time.monotonic()))
    assert await lag_seconds(world) >= 3
    strike.ends()
    await world.stack.start("consumer")


async def lag_seconds(world: World) -> int:
    """What `X-Projection-Lag` says now."""
    customer = world.customers[0]
    reading = await world.api.monitor(customer, next(iter(customer.groups)))
    assert reading.status == 200
    return reading.lag_seconds


FAULTS = (
    Fault("consumers killed mid-batch, five times", killed_mid_batch, short=True),
    Fault("consumers told to end, in turn", stopped_in_turn),
    Fault("all consumers dead for a while", all_dead),
    Fault("Redis and the consumers killed at once", killed_with_redis, readable=False),
)
