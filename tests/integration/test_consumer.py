"""The consumer as a process, on real servers: what it parks, how it stops, and what an operator does about it."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import cast
from uuid import uuid4

import aio_pika
import msgspec
import pytest
from aio_pika.abc import AbstractChannel
from redis.asyncio import Redis

from histories import placed
from integration.admin_runner import Operator
from rotary.domain.facts import DAY_MS, total
from rotary.domain.quota import days_read
from rotary.events import BATCH_CONTENT_TYPE, EVENT_CONTENT_TYPE, EXCHANGE, encode_batch, encode_event
from rotary.rabbitmq.connection import channel
from rotary.rabbitmq.parked import browse, describe
from rotary.redis import keys
from rotary.redis.connection import load_functions
from rotary.redis.facts import decode_facts, fact_keys
from running import program, until


def now_ms() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


async def publish(broker: AbstractChannel, key: str, body: bytes, content_type: str) -> None:
    exchange = await broker.get_exchange(EXCHANGE)
    await exchange.publish(aio_pika.Message(body, content_type=content_type, delivery_mode=2), key, mandatory=True)


async def current(shared_redis: Redis) -> int:
    """The generation that readers read."""
    return int(await shared_redis.hget(keys.REBUILD, "current") or 0)


async def calls(shared_redis: Redis, customer: int, caller: int) -> int:
    days = days_read(now_ms())
    values = await shared_redis.mget(fact_keys(customer, [caller], days, await current(shared_redis)))
    caller_facts = decode_facts([caller], days, cast("list[bytes | None]", values))[caller]
    return sum(map(total, caller_facts.calls.values()))


ADMIN = Operator({})
"""With the stack's settings."""


async def listed(key: str) -> list[dict[str, str]]:
    """What an operator is shown."""
    rows = json.loads(await ADMIN.done("parked", "list", "--limit", "10000", "--json"))
    return [row for row in rows if row["routing_key"] == key]


async def parked(url: str, key: str) -> int:
    """How many messages of a routing key are parked."""
    async with channel(url) as broker:
        return len([1 async for message in browse(broker) if describe(message).routing_key == key])


async def test_a_poisoned_batch_is_parked_once_and_an_operator_can_deal_with_it(
    customer: int, rabbitmq_url: str, shared_redis: Redis
) -> None:
    key = f"call-placed.{customer}"
    good, late = placed(f"{uuid4()}", now_ms()), placed(f"{uuid4()}", now_ms() - 49 * 3_600_000)
    unknown = json.loads(encode_event(good)) | {"type": "call-answered", "data": {"lead_id": "L-secret"}}
    body = b"[" + b",".join([encode_event(late), msgspec.json.encode(unknown), encode_event(good), b"3"]) + b"]"
    async with channel(rabbitmq_url, confirms=True) as broker, program("rotary_consumer"):
        await publish(broker, key, body, BATCH_CONTENT_TYPE)

        async def folded() -> bool:
            return await calls(shared_redis, customer, 18) == 1 and await parked(rabbitmq_url, key) == 1

        await until(folded, 20, "one call is folded, the batch is parked")
        [row] = await listed(key)
        first, second = "out_of_window: 1 of the batch, at 0. ", "unknown_type: 1 of the batch, at 1. "
        assert row["reason"].startswith(f"{first}{second}not_decodable: 1 of the batch, at 3.")
        assert json.loads(await ADMIN.done("parked", "show", row["id"], "--json"))["body"] == body.decode()
        assert await ADMIN.done("parked", "replay", row["id"]) == "replayed: 1\n"

        async def back() -> bool:
            return await parked(rabbitmq_url, key) == 1

        await until(back, 20, "what still can't be folded is parked again")
        assert await calls(shared_redis, customer, 18) == 1
        assert "nothing was changed; pass --yes" in await ADMIN.refused("parked", "drop", "--all")
        assert await ADMIN.done("parked", "drop", row["id"]) == "dropped: 1\n"
        assert await parked(rabbitmq_url, key) == 0


async def test_sigterm_ends_at_once_and_the_next_consumer_reads_on(
    customer: int, rabbitmq_url: str, shared_redis: Redis
) -> None:
    events = [placed(f"{uuid4()}", now_ms()) for _ in range(5_000)]
    async with channel(rabbitmq_url, confirms=True) as broker:
        async with program("rotary_consumer") as (consumer, _):
            for begin in range(0, len(events), 50):
                body = encode_batch(events[begin : begin + 50])
                await publish(broker, f"call-placed.{customer}", body, BATCH_CONTENT_TYPE)
            consumer.terminate()
            assert await asyncio.wait_for(consumer.wait(), 10) == 0
        async with program("rotary_consumer"):

            async def all_folded() -> bool:
                return await calls(shared_redis, customer, 18) == len(events)

            await until(all_folded, 20, "every call is folded exactly once")


async def test_rebuild_counts_anew_from_the_logs(customer: int, rabbitmq_url: str, shared_redis: Redis) -> None:
    async with channel(rabbitmq_url, confirms=True) as broker, program("rotary_consumer"):
        for _ in range(3):
            await publish(
                broker, f"call-placed.{customer}", encode_event(placed(f"{uuid4()}", now_ms())), EVENT_CONTENT_TYPE
            )

        async def folded() -> bool:
            return await calls(shared_redis, customer, 18) == 3

        await until(folded, 20, "three calls are folded")
        # A count that somebody broke by hand is what a rebuild is for.
        generation = await current(shared_redis)
        day = now_ms() // DAY_MS
        await shared_redis.delete(*(keys.calls(customer, 18, at, generation) for at in (day - 1, day)))
        assert json.loads(await ADMIN.done("rebuild", "--yes", "--json"))["generation"] == generation + 1
        assert await folded()


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"redis_url": "http://x"}, "ROTARY_REDIS_URL is invalid; expected redis://[user:password@]host:port/0"),
        ({"rabbitmq_url": ""}, "ROTARY_RABBITMQ_URL is not set; expected amqp://user:password@host:port/vhost"),
        ({"prefetch": "0"}, "ROTARY_PREFETCH is invalid; expected a whole number, 1 or more"),
    ],
)
async def test_a_wrong_setting_is_one_line_and_status_2(settings: dict[str, str], line: str) -> None:
    code, err = await run_consumer(**settings)
    assert (code, err) == (2, [f"rotary-consumer: {line}"])


async def run_consumer(**settings: str) -> tuple[int | None, Sequence[str]]:
    environ = {
        "ROTARY_POSTGRES_URL": "postgresql://rotary@localhost/rotary",
        "ROTARY_REDIS_URL": "redis://localhost/0",
        "ROTARY_RABBITMQ_URL": "amqp://localhost/",
    } | {f"ROTARY_{name.upper()}": value for name, value in settings.items()}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rotary_consumer", env=environ, stderr=asyncio.subprocess.PIPE
    )
    _, err = await process.communicate()
    return process.returncode, err.decode().splitlines()


async def test_a_redis_that_evicts_is_refused_with_one_line_and_status_2(redis: Redis) -> None:
    async with evicting(redis):
        code, err = await run_consumer(**real_servers())
    assert code == 2
    assert [line for line in err if line.startswith("rotary-consumer: ")] == [
        "rotary-consumer: Redis has maxmemory-policy allkeys-lru: set noeviction, or calls are counted twice"
    ]


async def test_a_redis_without_our_functions_is_looked_at_anew(redis: Redis) -> None:
    async with program("rotary_consumer") as (consumer, _), evicting(redis):
        await redis.function_flush()
        assert await asyncio.wait_for(consumer.wait(), 20) == 2
    await load_functions(redis)


@asynccontextmanager
async def evicting(redis: Redis) -> AsyncIterator[None]:
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        yield
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")


def real_servers() -> dict[str, str]:
    names = ("postgres_url", "redis_url", "rabbitmq_url")
    return {name: os.environ[f"ROTARY_{name.upper()}"] for name in names} | {"ops_bind": "127.0.0.1:0"}
