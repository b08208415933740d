"""Consumers in this process, on a virtual host, a database and a Redis of their own: what breaks is nobody else's."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import aio_pika
from aio_pika.abc import AbstractChannel
from msgspec import convert
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from histories import DAY
from integration.private_database import opened, private_database
from integration.private_redis import comparable, private_redis, stored_facts
from integration.private_redis import own as own_redis
from integration.private_vhost import lasting_vhost
from rotary.clock import system_clock
from rotary.domain.facts import CallerFacts, total
from rotary.events import (
    BATCH_CONTENT_TYPE,
    EVENT_CONTENT_TYPE,
    EXCHANGE,
    Event,
    encode_batch,
    encode_event,
    routing_key,
)
from rotary.postgres import logs as records
from rotary.postgres.connection import Connection
from rotary.postgres.logs import LogRecord
from rotary.rabbitmq import topology
from rotary.rabbitmq.connection import channel
from rotary.rabbitmq.parked import ParkedMessage, browse, describe
from rotary.rabbitmq.topology import PARKED, SPREAD, Log
from rotary.redis import keys
from rotary.redis.positions import BucketStatus, decode_bucket_status
from rotary.runtime.program import cancel_and_wait
from rotary_consumer.service import consuming
from rotary_consumer.settings import Settings
from running import until

SECONDS = 20
now_ms = system_clock()


class Servers:
    """What one module's tests share."""

    def __init__(self, postgres_url: str, rabbitmq_url: str, redis_url: str) -> None:
        self.postgres_url = postgres_url
        self.rabbitmq_url = rabbitmq_url
        self.redis_url = redis_url


@contextmanager
def private_servers(postgres_url: str, rabbitmq_url: str, redis_url: str) -> Iterator[Servers]:
    """A migrated database, removed at the end, and a virtual host."""
    with private_database(postgres_url) as postgres:
        yield Servers(postgres, lasting_vhost(rabbitmq_url), redis_url)


class Installation:
    """An installation on which no consumer has ever run."""

    def __init__(self, servers: Servers, redis: Redis, postgres: Connection, broker: AbstractChannel) -> None:
        self.servers = servers
        self.redis = redis
        self.postgres = postgres
        self.broker = broker

    @property
    def redis_url(self) -> str:
        """The URL of the Redis database."""
        return own_redis(self.servers.redis_url)

    @asynccontextmanager
    async def consumer(self, **settings: str) -> AsyncIterator[None]:
        """One that runs until the block ends. Settings replace those of the installation."""
        own = {
            "postgres_url": self.servers.postgres_url,
            "rabbitmq_url": self.servers.rabbitmq_url,
            "redis_url": self.redis_url,
        }
        chosen = convert({**own, **settings, "ops_bind": "127.0.0.1:0"}, Settings, strict=False)
        never = asyncio.Event()
        async with consuming(chosen) as supervisor:
            supervising = asyncio.create_task(supervisor.until(never))
            try:
                yield
                if supervising.done():
                    supervising.result()
            finally:
                await cancel_and_wait(supervising)

    async def publish(self, customer: int, *events: Event, batched: bool = False) -> None:
        """Publishes events one by one, or in one message; they are confirmed."""
        exchange = await self.broker.get_exchange(EXCHANGE, ensure=False)
        if batched:
            message = aio_pika.Message(encode_batch(events), content_type=BATCH_CONTENT_TYPE, delivery_mode=2)
            await exchange.publish(message, routing_key(events[0], customer))
            return
        for event in events:
            message = aio_pika.Message(encode_event(event), content_type=EVENT_CONTENT_TYPE, delivery_mode=2)
            await exchange.publish(message, routing_key(event, customer))

    async def publish_raw(self, key: str, body: bytes, content_type: str = EVENT_CONTENT_TYPE) -> None:
        """Publishes anything."""
        exchange = await self.broker.get_exchange(EXCHANGE, ensure=False)
        await exchange.publish(aio_pika.Message(body, content_type=content_type, delivery_mode=2), key)

    async def redis_now_ms(self) -> int:
        """Redis' clock."""
        seconds, microseconds = await self.redis.time()
        return seconds * 1000 + microseconds // 1000

    async def generation(self) -> int:
        """The generation that is current."""
        return int(await self.redis.hget(keys.REBUILD, "current") or 0)

    async def bucket_statuses(self, generation: int | None = None) -> list[BucketStatus]:
        """What every bucket that readers read says of itself."""
        generations: Sequence[int] = [generation or 0] * keys.BUCKETS
        if generation is None:
            current = await self.redis.mget([keys.generation(bucket) for bucket in range(keys.BUCKETS)])
            generations = [int(one or 0) for one in current]
        pipeline = self.redis.pipeline(transaction=False)
        for bucket, read in enumerate(generations):
            pipeline.hget(keys.position(bucket, read), "read")
        return [decode_bucket_status(stored) for stored in await pipeline.execute()]

    async def caught_up(self, seconds: float = SECONDS) -> None:
        """Returns once everything that was confirmed before now is in the facts."""
        since_ms = await self.redis_now_ms()

        async def is_complete() -> bool:
            return all(one.complete_ms >= since_ms for one in await self.bucket_statuses())

        await until(is_complete, seconds, "all that was confirmed is folded")

    async def facts_by_caller(self, customer: int, *callers: int) -> dict[int, CallerFacts]:
        """The customer's facts of these days."""
        days = range(now_ms() // DAY - 3, now_ms() // DAY + 2)
        pointer, generation = keys.generation(keys.bucket_of(customer)), -1
        while generation != (generation := int(await self.redis.get(pointer) or 0)):
            stored = await stored_facts(self.redis, customer, callers, days, generation)
        return {caller: comparable(caller_facts, days) for caller, caller_facts in stored.items()}

    async def calls(self, customer: int, caller: int = 18) -> int:
        """How many calls of a caller ID are counted."""
        [caller_facts] = (await self.facts_by_caller(customer, caller)).values()
        return sum(map(total, caller_facts.calls.values()))

    async def parked(self) -> list[ParkedMessage]:
        """Everything that is parked."""
        async with channel(self.servers.rabbitmq_url) as opened_channel:
            return [describe(message) async for message in browse(opened_channel)]

    async def record(self, name: str) -> LogRecord:
        """The record of a log."""
        return next(record for record in await records.read_logs(self.postgres) if record.name == name)

    async def delete(self, log: Log) -> None:
        """Deletes a stream and all that is in it."""
        await self.broker.queue_delete(log.queue)

    async def declare(self, log: Log) -> None:
        """Declares a stream that was deleted, and has events go to it again, as an operator does."""
        await topology.declare_log(self.broker, log)
        active = [Log.parse(one.name) for one in await records.read_logs(self.postgres) if one.state == "active"]
        await topology.route(self.broker, active)


@asynccontextmanager
async def meanwhile(holds: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Asks again and again until the block ends; an assertion that failed once is raised then."""

    async def watch() -> None:
        while True:
            await holds()
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        await cancel_and_wait(watching)
    if not watching.cancelled():
        watching.result()


def metric(name: str, **labels: str) -> float:
    """A metric of the consumers in this process; 0 when it was never set."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def installation(servers: Servers) -> AsyncIterator[Installation]:
    """An empty installation with the definitions complete, cleaned up at the end."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(private_redis(servers.redis_url))
        postgres = await stack.enter_async_context(opened(servers.postgres_url))
        await postgres.execute("TRUNCATE event_logs, event_log_losses, customers, definition_changes CASCADE")
        broker = await stack.enter_async_context(channel(servers.rabbitmq_url, confirms=True))
        made = Installation(servers, redis, postgres, broker)
        stack.push_async_callback(_empty, made)
        yield made


async def _empty(made: Installation) -> None:
    names: Sequence[str] = [record.name for record in await records.read_logs(made.postgres)]
    async with channel(made.servers.rabbitmq_url) as broker:
        for name in {*names, *(log.name for log in topology.default_logs())}:
            await broker.queue_delete(Log.parse(name).queue)
        await broker.queue_delete(PARKED)
        for exchange in (EXCHANGE, *SPREAD.values()):
            await broker.exchange_delete(exchange)
