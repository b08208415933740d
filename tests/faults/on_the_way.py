"""Faults between the processes: what was done is not heard of."""

import asyncio
import os
import time
from itertools import cycle
from pathlib import Path

import pytest

from faults.load import SOURCE
from faults.processes import Running, other_consumers
from faults.proxy import Direction, Proxy, proxied
from faults.trial import Fault, Strike
from rotary.publisher import Limits, Publisher, RotaryError

SECONDS = 4.0
SHUT_SECONDS = 5.0
BUSY_SHARE = 0.5
"""Of a core: more is a loop that waits for nothing."""


async def replies_of_redis(strike: Strike) -> None:
    """The fold ran, its reply did not arrive: again and again, on every connection the consumers have."""
    world, enter = strike.world, strike.afterwards.enter_async_context
    proxy = await enter(proxied(world.stack.service_variables()["ROTARY_REDIS_URL"]))
    through = {"ROTARY_REDIS_URL": proxy.url}
    await enter(other_consumers(world, through, through))
    await _keep_losing(proxy, "answers")
    assert proxy.losses >= 10


async def confirms_and_deliveries(strike: Strike) -> None:
    """What the broker confirmed is sent again; consumers lose their connections while they read."""
    world, enter = strike.world, strike.afterwards.enter_async_context
    near_dialers = await enter(proxied(world.rabbitmq_url))
    near_consumers = await enter(proxied(world.stack.service_variables()["ROTARY_RABBITMQ_URL"]))
    through = {"ROTARY_RABBITMQ_URL": near_consumers.url}
    await enter(other_consumers(world, through, through))
    strike.load.line.redirect(near_dialers.url)
    await asyncio.gather(
        _keep_losing(near_dialers, "answers"), _keep_losing(near_consumers, "answers", pause=0.6)
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


async def broker_accepts_and_closes(strike: Strike) -> None:
    """As a load balancer without a backend: consumers wait, without keeping a core busy, and end when told to."""
    world, enter = strike.world, strike.afterwards.enter_async_context
    proxy = await enter(proxied(world.stack.service_variables()["ROTARY_RABBITMQ_URL"]))
    through = {"ROTARY_RABBITMQ_URL": proxy.url}
    consumers = await enter(other_consumers(world, through, through))
    proxy.shut()
    before = [_cpu_seconds(one) for one in consumers]
    await asyncio.sleep(SHUT_SECONDS)
    busy = [_cpu_seconds(one) - began for one, began in zip(consumers, before, strict=True)]
    assert proxy.refused > 1
    assert max(busy) < SHUT_SECONDS * BUSY_SHARE, busy
    consumers[0].process.terminate()
    assert await asyncio.wait_for(consumers[0].process.wait(), 10) == 0
    del world.others["consumer of this fault 0"]
    with pytest.raises(RotaryError):
        await _publish(proxy.url)
    proxy.lead_to(world.rabbitmq_url)


def _cpu_seconds(running: Running) -> float:
    assert running.process.returncode is None
    fields = Path(f"/proc/{running.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _publish(url: str) -> None:
    """As a dialer does, with the SDK. It must give up at its deadline."""
    limits = Limits(deadline_seconds=2.0)
    async with asyncio.timeout(10), Publisher(url, customer_id=1, source=SOURCE, limits=limits) as publisher:
        await publisher.call_placed(caller_id_id=1003)


FAULTS = (
    Fault("replies of Redis lost", replies_of_redis),
    Fault("confirms and deliveries lost", confirms_and_deliveries),
    Fault("a broker that accepts and closes", broker_accepts_and_closes),
)
