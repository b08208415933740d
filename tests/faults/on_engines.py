"""Faults of the rotation engine and of what it stands on, under load from 64 clients."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from typing import NamedTuple

import aio_pika
import asyncpg
from msgspec import Struct

from faults.load import Line
from faults.on_redis import copied, put_back
from faults.picking import CAP, PICK_TTL_SECONDS, Picker, PickLoad
from faults.processes import Service, free_port, start
from faults.proxy import Proxy, proxied
from faults.world import World, until
from histories import flagged
from rotary.definitions import PICK_SCOPE, SCOPE
from rotary.domain.facts import QUARTER_MS
from rotary.domain.quota import today
from rotary.events import encode_event, routing_key
from rotary.redis import keys

CALLERS = 12


class Engine(Struct):
    """One of the two engines: its way to Redis, and its process."""

    service: Service
    url: str
    ops_port: int
    proxy: Proxy
    process: asyncio.subprocess.Process

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()

    async def start(self) -> None:
        self.process = await start(self.service, self.ops_port)


class Dialing(NamedTuple):
    """What a fault of the engine is given."""

    world: World
    load: PickLoad
    picker: Picker
    engines: list[Engine]


class EngineFault(NamedTuple):
    """The second engine's clock is ahead by `clock_error_seconds`."""

    name: str
    strike: Callable[[Dialing], Awaitable[None]]
    clock_error_seconds: int = 0


async def write_picker(world: World, number: int, count: int = CALLERS) -> Picker:
    """A new customer, whose group of so many caller IDs is picked from at once."""
    customer = 500 + number
    callers = tuple(range(customer * 1000 + 1, customer * 1000 + 1 + count))
    picker = Picker(customer, customer * 10, f"picker-{customer}", callers)
    connection = await asyncpg.connect(world.variables["ROTARY_POSTGRES_URL"])
    try:
        async with connection.transaction():
            await connection.execute(
                "INSERT INTO customers (id, name, timezone, policy) VALUES ($1, $2, $3, $4::jsonb)",
                customer, f"Picker {number}", world.timezone, f'{{"pick_ttl_seconds": {PICK_TTL_SECONDS}}}',
            )  # fmt: skip
            await connection.execute(
                "INSERT INTO api_tokens (customer_id, name, token_sha256, scopes, rate_limit_per_minute)"
                " VALUES ($1, 'picker', $2, $3, NULL)",
                customer, sha256(picker.token.encode()).digest(), [PICK_SCOPE, SCOPE],
            )  # fmt: skip
            await connection.executemany(
                "INSERT INTO caller_ids (id, customer_id, number, carrier, daily_cap)"
                " VALUES ($1, $2, $3, 'viettel', $4)",
                [(caller, customer, f"+8490{caller:07d}", CAP) for caller in callers],
            )
            await connection.execute(
                "INSERT INTO caller_id_groups (id, customer_id, name, rotation_strategy)"
                " VALUES ($1, $2, $3, 'least_used')",
                picker.group, customer, "Picked from",
            )  # fmt: skip
            await connection.executemany(
                "INSERT INTO caller_id_group_members (group_id, caller_id_id) VALUES ($1, $2)",
                [(picker.group, caller) for caller in callers],
            )
    finally:
        await connection.close()
    return picker


@asynccontextmanager
async def two_engines(world: World, *settings: Mapping[str, str]) -> AsyncIterator[list[Engine]]:
    """Beside the stack's own, each by a proxy of its own. `settings` are those of each, over the stack's."""
    async with AsyncExitStack() as exits:
        engines = []
        for environ in settings:
            proxy = await exits.enter_async_context(proxied(world.stack.service_variables()["ROTARY_REDIS_URL"]))
            bind, ops_port = f"127.0.0.1:{free_port()}", free_port()
            own = {"ROTARY_REDIS_URL": proxy.url, "ROTARY_ENGINE_BIND": bind}
            service = Service("rotary_engine", {**world.stack.service_variables(), **own, **environ})
            engine = Engine(service, f"http://{bind}", ops_port, proxy, await start(service, ops_port))
            exits.push_async_callback(_end, engine)
            engines.append(engine)
        for engine in engines:
            await until(lambda url=engine.ops_port: _is_ready(world, url), "the engine is ready")  # type: ignore[misc]
        yield engines


async def _is_ready(world: World, ops_port: int) -> bool:
    try:
        async with world.session.get(f"http://127.0.0.1:{ops_port}/readyz") as response:
            return response.status == 200
    except OSError:
        return False


async def _end(engine: Engine) -> None:
    if engine.process.returncode is None:
        engine.process.terminate()
    await asyncio.wait_for(engine.process.wait(), 12)


async def reservations(world: World, picker: Picker) -> int:
    """Live ones, whose time may have ended."""
    prefix = f"{keys.tag(keys.bucket_of(picker.id))}{picker.id}:live:"
    pipeline = world.redis.pipeline(transaction=False)
    for caller in picker.callers:
        pipeline.zcard(f"{prefix}{caller}")
    return sum(await pipeline.execute())


async def rest(dialing: Dialing, at: int) -> None:
    """A carrier blocks a number. From the moment at which the facts say so it must not be picked."""
    world, caller = dialing.world, dialing.picker.callers[at]
    event = flagged(f"blocked-{dialing.picker.id}-{caller}", "blocked", world.clock(), caller, "/carriers")
    line = Line(world.rabbitmq_url)
    message = aio_pika.Message(encode_event(event), content_type="application/cloudevents+json")
    await line.publish(message, routing_key(event, dialing.picker.id), 10)
    await line.close()
    generation = await world.redis.get(keys.generation(keys.bucket_of(dialing.picker.id)))
    name = keys.flags(dialing.picker.id, caller, int(generation or 0))

    async def is_folded() -> bool:
        return bool(await world.redis.exists(name))

    await until(is_folded, "the flag is folded")
    dialing.load.ledger.rests_since[caller] = asyncio.get_running_loop().time()


async def disable(dialing: Dialing, at: int) -> None:
    """The owner switches a number off. From the moment at which the API says so it must not be picked."""
    world, picker = dialing.world, dialing.picker
    caller = picker.callers[at]
    connection = await asyncpg.connect(world.variables["ROTARY_POSTGRES_URL"])
    try:
        await connection.execute("UPDATE caller_ids SET status = 'disabled' WHERE id = $1", caller)
    finally:
        await connection.close()
    url, headers = f"{world.api.url}/api/caller-id-groups/{picker.group}", {"Authorization": f"Bearer {picker.token}"}

    async def is_shown() -> bool:
        async with world.session.get(url, headers=headers) as response:
            members = (await response.json())["data"]["caller_ids"]
        return any(one["id"] == caller and one["status"] == "disabled" for one in members)

    await until(is_shown, "the number is shown as disabled")
    dialing.load.ledger.rests_since[caller] = asyncio.get_running_loop().time()


async def killed(dialing: Dialing) -> None:
    """Each in turn, in the middle of what it is asked, three times."""
    for _ in range(3):
        for engine in dialing.engines:
            await engine.kill()
            await dialing.load.more(100)
            await engine.start()
            await dialing.load.more(50)


async def cut_off(dialing: Dialing) -> None:
    """Each in turn is without Redis; the other one answers. Flags arrive meanwhile."""
    for at, engine in enumerate(dialing.engines):
        engine.proxy.shut()
        await rest(dialing, at)
        await dialing.load.more(150)
        engine.proxy.lead_to(dialing.world.stack.service_variables()["ROTARY_REDIS_URL"])
        await dialing.load.more(150)


async def answers_lost(dialing: Dialing) -> None:
    """Redis has picked, and its answer never arrives: the client asks again, by way of the other engine."""
    for _ in range(10):
        for engine in dialing.engines:
            engine.proxy.lose("answers", spared=2)
        await dialing.load.more(60)


async def redis_killed(dialing: Dialing) -> None:
    await dialing.world.stack.kill("redis")
    await asyncio.sleep(1)
    await dialing.world.stack.start("redis")


async def redis_emptied(dialing: Dialing) -> None:
    await dialing.world.stack.restart("redis", empty=True)


async def redis_rolled_back(dialing: Dialing) -> None:
    """Picks, calls and a flag of the last seconds are gone, and Redis does not know it."""
    stack = dialing.world.stack
    kept = copied(stack)
    await rest(dialing, 0)
    await dialing.load.more(200)
    await stack.kill("redis")
    put_back(stack, kept)
    await stack.start("redis")


async def consumers_dead(dialing: Dialing) -> None:
    """Longer than picks live: calls that were placed are not counted, and open no room. Then longer than facts are
    believed: the engine closes."""
    world = dialing.world
    for seconds in (PICK_TTL_SECONDS + 2, 13):
        await world.stack.stop("consumer")
        await asyncio.sleep(seconds)
        await world.stack.start("consumer")
        await dialing.load.more(100)


async def subscriptions_lost(dialing: Dialing) -> None:
    """Nobody hears of changes, while numbers are flagged and switched off."""
    world = dialing.world
    ended = asyncio.Event()
    cutting = asyncio.create_task(_cut_subscriptions(world, ended))
    try:
        for at in range(3):
            await rest(dialing, at)
            await disable(dialing, at + 3)
            await dialing.load.more(100)
    finally:
        ended.set()  # a cancellation may be swallowed on the way: Python 3.11
        await cutting


async def _cut_subscriptions(world: World, ended: asyncio.Event) -> None:
    while not ended.is_set():
        await world.redis.client_kill_filter(_type="pubsub", skipme=True)
        await asyncio.sleep(0.05)


async def flags_and_switches(dialing: Dialing) -> None:
    """One of the engines has a clock that is 20 s fast."""
    for at in range(3):
        await rest(dialing, at)
        await disable(dialing, at + 3)
        await dialing.load.more(150)


def day_of(timezone: str) -> Callable[[float], int]:
    """From a UTC time in seconds to a number of the customer's day."""

    def day(at: float) -> int:
        first, _ = today(timezone, int(at * 1000) // QUARTER_MS)
        return first

    return day


ENGINE_FAULTS = (
    EngineFault("engines killed mid-pick, in turn", killed),
    EngineFault("each of two engines cut off from Redis", cut_off),
    EngineFault("Redis picked, and its answers are lost", answers_lost),
    EngineFault("Redis killed", redis_killed),
    EngineFault("Redis emptied", redis_emptied),
    EngineFault("Redis rolled back", redis_rolled_back),
    EngineFault("consumers dead for a while, twice", consumers_dead),
    EngineFault("subscriptions lost while flags arrive", subscriptions_lost),
    EngineFault("one engine's clock 20 s fast", flags_and_switches, clock_error_seconds=20),
)
