"""Faults of the definitions: late writes, and losses while they are written."""

import asyncio
import time
from collections.abc import Sequence
from functools import partial

import asyncpg

from faults.definitions import Customer
from faults.definitions import write as write_customers
from faults.load import Shape
from faults.processes import other_consumers
from faults.proxy import Proxy, proxied
from faults.trial import Fault, Strike
from faults.world import World, until

LATE_SECONDS = 1.0
MANY = range(100, 115)
ROUNDS = 4
GROUPS_EACH = 100


async def written_late(strike: Strike) -> None:
    """The projector's write is on its way; another projects something newer; then the first one's arrives."""
    world, enter = strike.world, strike.afterwards.enter_async_context
    url = world.stack.service_variables()["ROTARY_REDIS_URL"]
    proxies = [await enter(proxied(url)), await enter(proxied(url))]
    await enter(other_consumers(world, *({"ROTARY_REDIS_URL": proxy.url} for proxy in proxies)))
    for proxy in proxies:
        proxy.hold(b"written-late")
    await _rename(world, "written-late")
    await until(lambda: _held(proxies), "the projector's write is held back")
    await _rename(world, "newer")
    # Whoever leads loses the lock; the other one takes it.
    await _execute(
        world, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    )  # fmt: skip
    await until(lambda: _shows(world, "newer"), "the newer definition is shown")
    for proxy in proxies:
        proxy.release()
    arrived = time.monotonic()
    while time.monotonic() - arrived < LATE_SECONDS:
        assert await _shows(world, "newer"), "an older definition replaced a newer one"
        await asyncio.sleep(0.05)
    await _rename(world, None)
    await until(lambda: _shows(world, None), "the last change is shown")


async def _held(proxies: Sequence[Proxy]) -> bool:
    return any(proxy.held for proxy in proxies)


async def _rename(world: World, name: str | None) -> None:
    await _execute(world, "UPDATE caller_ids SET display_name = $2 WHERE customer_id = $1", world.bystander.id, name)


async def _shows(world: World, name: str | None) -> bool:
    return await world.api.display_names(world.bystander, next(iter(world.bystander.groups))) == {name}


async def _execute(world: World, statement: str, *arguments: object) -> None:
    connection = await asyncpg.connect(world.variables["ROTARY_POSTGRES_URL"])
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()


async def flushed_amid_a_resync(strike: Strike) -> None:
    """Again and again, at another moment each time: no group is missing afterwards."""
    world = strike.world
    many = [_with_many_groups(number) for number in MANY]
    await write_customers(world.variables["ROTARY_POSTGRES_URL"], many, world.timezone)
    try:
        await until(lambda: _all_listed(world, many), "every group is projected")
        for round_ in range(ROUNDS):
            await world.redis.flushall()
            await until(partial(_holds, world, 100 + 200 * round_), "the definitions are being written")
        await world.redis.flushall()
        strike.ends()
        await until(lambda: _all_listed(world, many), "every group is projected again")
    finally:
        await _execute(world, "DELETE FROM customers WHERE id = ANY($1)", [one.id for one in many])


def _with_many_groups(number: int) -> Customer:
    callers = (number * 1000 + 1, number * 1000 + 2)
    return Customer(number, f"token-of-{number}", callers, {number * 1000 + at: callers for at in range(GROUPS_EACH)})


async def _holds(world: World, keys: int) -> bool:
    return bool(await world.redis.dbsize() >= keys)


async def _all_listed(world: World, many: Sequence[Customer]) -> bool:
    """With a monitor each. Asked one customer's at a time."""
    for one in many:
        if (await world.api.groups(one)).listed != len(one.groups):
            return False
        readings = await asyncio.gather(*(world.api.monitor(one, group) for group in one.groups))
        if any(reading.status != 200 for reading in readings):
            return False
    return True


FAULTS = (
    Fault("definitions written late by a stalled projector", written_late),
    Fault("FLUSHALL amid a resync of the definitions", flushed_amid_a_resync, Shape(rate=100), readable=False),
)
