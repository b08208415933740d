"""How long a large installation waits for a consumer: from the start of its process until it folds again."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import count
from signal import SIGKILL, SIGTERM, Signals
from statistics import median
from time import monotonic
from typing import NamedTuple

import aio_pika
from redis.asyncio import Redis

from benchmarks.calls import Message, publish
from benchmarks.folding import own_database
from benchmarks.installation import CALLERS_A_CUSTOMER, fill
from benchmarks.own_redis import redis_server
from benchmarks.processes import free_port, module, process, until
from benchmarks.run import Run
from benchmarks.stored import calls_stored
from benchmarks.table import Row, at_most
from integration.private_vhost import private_vhost
from rotary.events import EVENT_CONTENT_TYPE, encode_event, routing_key
from rotary.publisher import EventFactory
from rotary.rabbitmq import topology
from rotary.redis.connection import connect
from rotary.redis.documents import PARTS

MOST_SECONDS = 3.0
PATIENCE_SECONDS = 120.0
SETTLED_SECONDS = 0.5


async def measure(run: Run) -> None:
    """Every row about restarts."""
    await run.each({"restart": partial(restart, run)})


async def restart(run: Run) -> Sequence[Row]:
    """The first start, while the projector writes every definition; then ones with all in place."""
    callers = run.scale.many_callers
    customers = callers // CALLERS_A_CUSTOMER
    with run.on_all_cores():
        async with _installation(run, callers) as installation:
            first = await installation.started(SIGTERM, complete=True)
            stopped, killed = list[float](), list[float]()
            for _ in range(run.scale.drains):
                stopped.append((await installation.started(SIGKILL)).folded)
                killed.append((await installation.started(SIGTERM)).folded)
    told = f"{callers:,} caller IDs, {customers:,} customers"
    return [
        _row(f"{told}: a consumer stopped and started: until it folds", stopped, ""),
        _row(f"{told}: one killed and started: until it folds", killed, "its leases are still out"),
        _row(
            f"{told}: one that finds no definitions: until it folds",
            [first.folded],
            f"meanwhile the projector writes all of them: {first.complete:.1f} s",
            goal=False,
        ),
    ]


class Started(NamedTuple):
    """Seconds after the start of a process: when it had folded an event, and when all definitions were in Redis."""

    folded: float
    complete: float


class Installation:
    """What consumers are started in, one after the other."""

    def __init__(self, run: Run, settings: dict[str, str], redis: Redis, customers: int) -> None:
        self._run = run
        self._settings = settings
        self._redis = redis
        self._source = EventFactory("/benchmark/restart")
        self._customers = (1 + number * 7919 % customers for number in count())

    async def started(self, end: Signals, *, complete: bool = False) -> Started:
        """Starts one, to which an event was published meanwhile, and ends it by this signal once that is folded."""
        customer = next(self._customers)
        caller = customer * CALLERS_A_CUSTOMER
        counted = partial(calls_stored, self._redis, customer, [caller])
        before = await counted()
        await self._publish(customer, caller)

        async def is_folded() -> bool:
            return await counted() > before

        environ = self._settings | {"ROTARY_OPS_BIND": f"127.0.0.1:{free_port()}"}
        began = monotonic()
        async with process(self._run.cores.all, *module("rotary_consumer"), environ=environ) as consumer:
            await until(is_folded, "the event is folded", PATIENCE_SECONDS)
            folded = monotonic() - began
            if complete:
                await until(self._is_complete, "all definitions are in Redis", PATIENCE_SECONDS)
            found = Started(folded, monotonic() - began)
            await asyncio.sleep(SETTLED_SECONDS)  # it renews its leases now and then, and so is each killed alike
            consumer.send_signal(end)
            await consumer.wait()
        return found

    async def _publish(self, customer: int, caller: int) -> None:
        event = self._source.call_placed(caller)
        message = Message(routing_key(event, customer), encode_event(event), EVENT_CONTENT_TYPE)
        await publish(self._settings["ROTARY_RABBITMQ_URL"], [message])

    async def _is_complete(self) -> bool:
        pipeline = self._redis.pipeline(transaction=False)
        for part in PARTS:
            pipeline.hget(part, "complete")
        return all(await pipeline.execute())


@asynccontextmanager
async def _installation(run: Run, callers: int) -> AsyncIterator[Installation]:
    async with AsyncExitStack() as stack:
        rabbitmq = stack.enter_context(private_vhost(run.servers.rabbitmq))
        async with await aio_pika.connect(rabbitmq) as connection:
            await topology.declare(await connection.channel())
        postgres = await stack.enter_async_context(own_database(run))
        url = f"{await stack.enter_async_context(redis_server(run, run.cores.all))}/0"
        redis = await stack.enter_async_context(connect(url, timeout_seconds=30))
        began = monotonic()
        await fill(postgres, redis, callers)
        run.say(f"restart: {await redis.dbsize():,} keys of facts in {monotonic() - began:.0f} s")
        settings = run.servers.settings(0, rabbitmq, postgres) | {"ROTARY_REDIS_URL": url}
        yield Installation(run, settings, redis, callers // CALLERS_A_CUSTOMER)


def _row(case: str, seconds: Sequence[float], detail: str, *, goal: bool = True) -> Row:
    told = f"{len(seconds)} times, at most {max(seconds):.2f} s"
    return Row(
        case=case,
        figure=median(seconds),
        unit="s",
        goal=at_most(MOST_SECONDS) if goal else None,
        detail=f"{told}; {detail}" if detail else told,
        samples={"s": seconds},
    )
