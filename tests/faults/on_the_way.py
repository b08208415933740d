"""Faults between the processes: what was done is not heard of."""

import asyncio
import time
from itertools import cycle

from faults.processes import other_consumers
from faults.proxy import Direction, Proxy, proxied
from faults.trial import Fault, Strike

SECONDS = 4.0


async def replies_of_redis(strike: Strike) -> None:
    """The fold ran, its reply did not arrive: again and again, on every connection the consumers have."""
    world, enter = strike.world, strike.afterwards.enter_async_context
    proxy = await enter(proxied(world.variables["ROTARY_REDIS_URL"]))
    await enter(other_consumers(world, 2, {"ROTARY_REDIS_URL": proxy.url}))
    await _keep_losing(proxy, "answers")
    assert proxy.losses >= 10


async def acknowledgements(strike: Strike) -> None:
    """What a consumer acknowledged comes again; what the broker confirmed is sent again."""
    world, enter = strike.world, strike.afterwards.enter_async_context
    near_dialers = await enter(proxied(world.rabbitmq_url))
    near_consumers = await enter(proxied(world.rabbitmq_url))
    await enter(other_consumers(world, 2, {"ROTARY_RABBITMQ_URL": near_consumers.url}))
    strike.load.line.redirect(near_dialers.url)
    await asyncio.gather(
        _keep_losing(near_dialers, "answers"), _keep_losing(near_consumers, "requests", pause=0.6)
    )  # fmt: skip
    strike.load.line.redirect(world.rabbitmq_url)
    assert near_dialers.losses >= 5
    assert near_consumers.losses >= 5


async def _keep_losing(proxy: Proxy, direction: Direction, pause: float = 0.25) -> None:
    ended = time.monotonic() + SECONDS
    for spared in cycle(range(4)):
        if time.monotonic() > ended:
            return
        await asyncio.sleep(pause)
        proxy.lose(direction, spared)


FAULTS = (
    Fault("replies of Redis lost", replies_of_redis),
    Fault("acknowledgements and confirms lost", acknowledgements),
)
