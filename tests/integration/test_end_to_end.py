"""The whole path: SQL rows and published events in, the three endpoints out, against the pure functions."""

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import aio_pika
import aiohttp
import asyncpg
import msgspec
import pytest
from aio_pika.abc import AbstractExchange

from histories import DAY, HOUR, by_row, cleared, flagged, placed
from rotary.clock import system_clock
from rotary.domain import facts
from rotary.domain.monitor import monitor
from rotary.events import (
    BATCH_CONTENT_TYPE,
    EVENT_CONTENT_TYPE,
    EXCHANGE,
    FLAG_KINDS,
    Event,
    encode_batch,
    encode_event,
    routing_key,
)
from rotary.postgres.connection import connect
from rotary.postgres.store import read_groups
from running import free_port, program, until

MEMBERS = 40


@dataclass
class Customer:
    """A customer with one group, written with plain SQL."""

    id: int
    group: int
    callers: Sequence[int]
    token: str


@pytest.fixture
async def customer(postgres_url: str) -> AsyncIterator[Customer]:
    connection = await asyncpg.connect(postgres_url)
    token = f"rot_{random.getrandbits(128):x}"
    customer = await connection.fetchval("INSERT INTO customers (name) VALUES ('End to end') RETURNING id")
    await connection.execute(
        "INSERT INTO api_tokens (customer_id, name, token_sha256, rate_limit_per_minute) VALUES ($1, 'test', $2, NULL)",
        customer,
        hashlib.sha256(token.encode()).digest(),
    )
    group = await connection.fetchval(
        "INSERT INTO caller_id_groups (customer_id, name, rotation_strategy) VALUES ($1, 'G', 'random') RETURNING id",
        customer,
    )
    rows = await connection.fetch(
        "INSERT INTO caller_ids (customer_id, number, carrier, status, daily_cap)"
        " SELECT $1, '+8490' || (1000000 + n), 'mobifone',"
        " CASE WHEN n % 9 = 0 THEN 'disabled' ELSE 'active' END, 150 + n * 3"
        " FROM generate_series(1, $2) AS n RETURNING id",
        customer,
        MEMBERS,
    )
    await connection.executemany(
        "INSERT INTO caller_id_group_members (group_id, caller_id_id) VALUES ($1, $2)",
        [(group, row[0]) for row in rows],
    )
    yield Customer(customer, group, [row[0] for row in rows], token)
    await connection.execute("DELETE FROM customers WHERE id = $1", customer)
    await connection.close()


def random_events(callers: Sequence[int], count: int, rng: random.Random) -> list[Event]:
    """Calls of the last two days, and a few flags and clears of the last two weeks."""
    now = system_clock()()
    events: list[Event] = []
    for number in range(count):
        name, source = f"event-{number}", f"/dialers/{number % 3}"
        caller = rng.choice(callers)
        kind = rng.random()
        if kind < 0.97:
            events.append(placed(name, now - rng.randrange(47 * HOUR), caller, source))
        elif kind < 0.995:
            events.append(flagged(name, rng.choice(FLAG_KINDS), now - rng.randrange(14 * DAY), caller, source))
        else:
            events.append(cleared(name, now - rng.randrange(DAY), caller, source))
    return events


def same_type(events: Sequence[Event]) -> list[Event]:
    """The events up to the first of another type: a message's events share its routing key."""
    return list(takewhile(lambda event: type(event) is type(events[0]), events))


async def publish_all(exchange: AbstractExchange, customer: int, events: Sequence[Event], rng: random.Random) -> None:
    """Publishes in the order given, partly one by one, partly in batches; returns once all is confirmed."""
    waiting: list[asyncio.Task[object]] = []
    at = 0
    while at < len(events):
        size = rng.choice((1, 1, 1, 1, 60))
        some = same_type(events[at : at + size])
        at += len(some)
        body, content_type = (
            (encode_event(some[0]), EVENT_CONTENT_TYPE) if len(some) == 1 else (encode_batch(some), BATCH_CONTENT_TYPE)
        )
        message = aio_pika.Message(body, content_type=content_type, delivery_mode=2)
        waiting.append(asyncio.create_task(_publish(exchange, message, routing_key(some[0], customer))))
        if len(waiting) >= 500:
            await asyncio.gather(*waiting)
            waiting.clear()
    await asyncio.gather(*waiting)


async def _publish(exchange: AbstractExchange, message: aio_pika.Message, key: str) -> object:
    return await exchange.publish(message, key, mandatory=True)


async def test_ten_thousand_events_with_duplicates_give_the_monitor_of_the_pure_functions(
    customer: Customer, postgres_url: str, rabbitmq_url: str
) -> None:
    rng = random.Random(20260606)
    events = random_events(customer.callers, 9_000, rng)
    published = events + rng.sample(events, 1_000)
    rng.shuffle(published)
    bind = f"127.0.0.1:{free_port()}"
    async with (
        program("rotary_consumer") as (first, _),
        program("rotary_consumer") as (second, _),
        program("rotary_query", query_bind=bind),
        await aio_pika.connect(rabbitmq_url) as connection,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {customer.token}"}) as session,
    ):
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        await publish_all(await channel.get_exchange(EXCHANGE), customer.id, published, rng)
        url = f"http://{bind}/api/caller-id-groups/{customer.group}/monitor"
        postgres = await connect(postgres_url)
        [group] = await read_groups(postgres, customer.id, [customer.group])
        await postgres.close()
        facts_by_caller = {caller: known.caller_facts() for caller, known in facts.fold({}, events).items()}

        async def as_the_pure_functions_say() -> bool:
            before = time.time_ns() // 1_000_000
            async with session.get(url) as response:
                assert response.status == 200, await response.text()
                answered: Any = (await response.json())["data"]
            after = time.time_ns() // 1_000_000
            shown = [monitor(group, by_row(group, facts_by_caller), now) for now in (before, after)]
            return answered in [msgspec.to_builtins(one) for one in shown]

        await until(as_the_pure_functions_say, 60, "the monitor is what the pure functions give")
        assert first.returncode is None
        assert second.returncode is None


async def test_a_row_written_with_plain_sql_is_in_the_api_within_a_second(
    customer: Customer, postgres_url: str
) -> None:
    bind = f"127.0.0.1:{free_port()}"
    async with (
        program("rotary_consumer"),
        program("rotary_query", query_bind=bind),
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {customer.token}"}) as session,
    ):
        connection = await asyncpg.connect(postgres_url)
        await connection.execute("UPDATE caller_id_groups SET name = 'Renamed' WHERE id = $1", customer.group)
        await connection.close()

        async def shown() -> bool:
            async with session.get(f"http://{bind}/api/caller-id-groups") as response:
                return [group["name"] for group in (await response.json())["data"]] == ["Renamed"]

        await until(shown, 5, "the new name is in the list")
