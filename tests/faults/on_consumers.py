"""Faults of the consumers."""

import asyncio
import os
import time
from signal import SIGCONT, SIGSTOP

from faults.bystander import bystander_unharmed, call_delay
from faults.load import Shape
from faults.on_redis import copied, put_back
from faults.processes import Service, free_port, other_consumers, other_query, start, with_skewed_clock
from faults.proxy import Proxy, proxied
from faults.trial import Fault, Strike
from faults.world import World, until
from rotary.rabbitmq import topology

CONSUMERS = ("consumer-1", "consumer-2")
HUNG_SECONDS = 8.0
KILLED_SECONDS = 3.0
"""How soon the logs of a consumer that hangs, or died, are read by another."""
DEATHS = 20
CUTS = 80


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
    """As an orderly upgrade does: each ends within ten seconds, and nobody waits for it."""
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
    """Answers go on; how old they are is said beside them, and streams say that they are old."""
    world, began = strike.world, time.monotonic()
    await world.stack.kill("consumer")
    await strike.load.more(500)

    async def are_told() -> bool:
        return all(stream.stale_at is not None for stream in strike.streams.values())

    await until(are_told, "streams say that the facts are behind", began + 5.0 - time.monotonic())
    await asyncio.sleep(max(0.0, began + 4 - time.monotonic()))
    assert await lag_seconds(world) >= 3
    strike.ends()
    await world.stack.start("consumer")


async def lag_seconds(world: World) -> int:
    """What `X-Projection-Lag` says now."""
    customer = world.dialing[0]
    reading = await world.api.monitor(customer, next(iter(customer.groups)))
    assert reading.status == 200
    return reading.lag_seconds


async def one_hangs(strike: Strike) -> None:
    """Whatever logs it reads, the header tells how old the facts are until the other has taken them over."""
    for name in CONSUMERS:
        pid = await strike.world.pid(name)
        os.kill(pid, SIGSTOP)
        try:
            await _taken_over(strike, HUNG_SECONDS)
        finally:
            os.kill(pid, SIGCONT)
        await strike.load.more(200)


async def one_dies(strike: Strike) -> None:
    for name in CONSUMERS:
        await strike.world.stack.kill(name)
        await _taken_over(strike, KILLED_SECONDS)
        strike.ends()
        await strike.world.stack.start(name)


async def _taken_over(strike: Strike, seconds: float) -> None:
    """Calls that are placed from now on show in time, and facts are as current as ever."""
    began = time.monotonic()
    await call_delay(strike)
    shown = time.monotonic() - began

    async def is_current() -> bool:
        readings = [
            await strike.world.api.monitor(one, group) for one in strike.world.customers for group in one.groups
        ]
        return all(reading.status == 200 and not reading.lag_seconds for reading in readings)

    await until(is_current, "another consumer reads every log")
    taken = time.monotonic() - began
    assert taken < seconds, f"taken over after {taken:.1f} s; another customer's call showed after {shown:.1f} s"


async def dying_over_the_same_messages(strike: Strike) -> None:
    """No fold arrives at Redis, so what is in their hands stays there; at last it is folded, and nothing is parked."""
    world, enter = strike.world, strike.afterwards.enter_async_context
    settings = world.stack.service_variables()
    parked = await world.waiting(topology.PARKED)
    to_redis = await enter(proxied(settings["ROTARY_REDIS_URL"]))
    to_broker = await enter(proxied(settings["ROTARY_RABBITMQ_URL"]))
    through = {"ROTARY_REDIS_URL": to_redis.url, "ROTARY_RABBITMQ_URL": to_broker.url}
    await world.stack.stop("consumer")
    to_redis.swallow(b"fold_1")
    for _ in range(DEATHS // 2):
        await _live_and_die(Service("rotary_consumer", settings | through), to_redis)
    to_redis.swallow(None)
    await enter(other_consumers(world, through, through))
    to_redis.swallow(b"fold_1")
    for _ in range(CUTS):
        to_broker.cut()
        await asyncio.sleep(0.05)
    to_redis.swallow(None)
    strike.ends()
    await world.quiet()
    assert await world.waiting(topology.PARKED) == parked


async def _live_and_die(service: Service, to_redis: Proxy) -> None:
    """Two processes, killed as soon as they have tried to fold."""
    processes = [await start(service, free_port()) for _ in range(2)]
    tried = to_redis.losses + 4

    async def have_tried() -> bool:
        return to_redis.losses >= tried

    try:
        await until(have_tried, "the consumers have messages in their hands")
    finally:
        for process in processes:
            process.kill()
            await process.wait()


async def with_other_clocks(strike: Strike) -> None:
    """One consumer five minutes ahead, the other five behind, the query service ahead; Redis back from a snapshot."""
    world, enter = strike.world, strike.afterwards.enter_async_context
    await enter(other_consumers(world, await with_skewed_clock(300), await with_skewed_clock(-300)))
    await enter(other_query(world, await with_skewed_clock(300)))
    async with bystander_unharmed(strike):
        await strike.load.more(500)
    kept = copied(world.stack)
    await strike.load.more(1500)
    await world.stack.kill("redis")
    put_back(world.stack, kept)
    await world.stack.start("redis")


FAULTS = (
    Fault("consumers killed mid-batch, five times", killed_mid_batch, short=True),
    Fault("consumers told to end, in turn", stopped_in_turn),
    Fault("all consumers dead for a while", all_dead),
    Fault("one of two consumers hangs, each in turn", one_hangs),
    Fault("one of two consumers dies, each in turn", one_dies),
    Fault("100 deaths with the same messages in hand", dying_over_the_same_messages, Shape(rate=100)),
    Fault("clocks five minutes apart, Redis back from a snapshot", with_other_clocks, readable=False),
    Fault("Redis and the consumers killed at once", killed_with_redis, readable=False),
)
