"""The whole path of a pick: SQL rows in, a number out of the engine, its call published, the monitor's count of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from secrets import token_hex
from typing import Any

import aio_pika
import aiohttp
import asyncpg
import pytest

from rotary.definitions import PICK_SCOPE, SCOPE
from rotary.events import EVENT_CONTENT_TYPE, EXCHANGE, encode_event, routing_key
from rotary.publisher import EventFactory
from rotary.redis.connection import connect, load_functions
from rotary.redis.picks import open_picks
from running import free_port, program, until

CAP = 3


@pytest.fixture
async def customer(postgres_url: str) -> AsyncIterator[tuple[int, int, int, str]]:
    """A customer with one group of one caller ID, written with plain SQL: their ids, and a token for both services."""
    connection = await asyncpg.connect(postgres_url)
    token = f"rot_{token_hex(16)}"
    customer = await connection.fetchval(
        "INSERT INTO customers (name, policy) VALUES ('Picks end to end', '{\"pick_ttl_seconds\": 60}') RETURNING id"
    )
    await connection.execute(
        "INSERT INTO api_tokens (customer_id, name, token_sha256, scopes, rate_limit_per_minute)"
        " VALUES ($1, 'test', $2, $3, NULL)",
        customer,
        sha256(token.encode()).digest(),
        [SCOPE, PICK_SCOPE],
    )
    group = await connection.fetchval(
        "INSERT INTO caller_id_groups (customer_id, name, rotation_strategy) VALUES ($1, 'G', 'least_used')"
        " RETURNING id",
        customer,
    )
    caller = await connection.fetchval(
        "INSERT INTO caller_ids (customer_id, number, carrier, daily_cap) VALUES ($1, '0280000001', 'viettel', $2)"
        " RETURNING id",
        customer,
        CAP,
    )
    await connection.execute(
        "INSERT INTO caller_id_group_members (group_id, caller_id_id) VALUES ($1, $2)", group, caller
    )
    yield customer, group, caller, token
    await connection.execute("DELETE FROM customers WHERE id = $1", customer)
    await connection.close()


@asynccontextmanager
async def services(redis_url: str) -> AsyncIterator[tuple[str, str]]:
    """The consumer, the query service and the engine, in a Redis where no pick can be out; the URLs of the latter."""
    query, engine = (f"127.0.0.1:{free_port()}" for _ in range(2))
    async with connect(redis_url) as redis:
        await load_functions(redis)
        await open_picks(redis)
    async with (
        program("rotary_consumer"),
        program("rotary_query", query_bind=query),
        program("rotary_engine", engine_bind=engine),
    ):
        yield f"http://{query}", f"http://{engine}"


async def test_a_call_that_names_its_pick_is_counted_once_and_no_cap_is_passed(
    customer: tuple[int, int, int, str], redis_url: str, rabbitmq_url: str
) -> None:
    number, group, caller, token = customer
    path = f"/api/caller-id-groups/{group}"
    async with (
        services(redis_url) as (query, engine),
        await aio_pika.connect(rabbitmq_url) as connection,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
    ):

        async def ask() -> tuple[int, Any]:
            async with session.post(f"{engine}{path}/picks", json={}) as response:
                return response.status, await response.json()

        async def calls_today() -> int:
            async with session.get(f"{query}{path}/monitor") as response:
                body = json.loads(await response.text())
                return body["data"]["members"][0]["calls_today"] if response.status == 200 else -1

        picked: list[str] = []

        async def is_picked() -> bool:
            status, body = await ask()
            if status == 201:
                assert body["data"]["caller_id_id"] == caller
                picked.append(body["data"]["id"])
            return status == 201

        await until(is_picked, 30, "the rows are projected and the engine picks")
        answers = await asyncio.gather(*(ask() for _ in range(16)))
        picked += [body["data"]["id"] for status, body in answers if status == 201]
        assert len(set(picked)) == len(picked) == CAP
        assert {body["message"] for status, body in answers if status != 201} == {"No caller ID is eligible."}
        assert await calls_today() == 0

        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        exchange = await channel.get_exchange(EXCHANGE)
        factory = EventFactory("/dialers/engine-test")
        for pick_id in picked[:2]:
            event = factory.call_placed(caller, group)
            body = json.loads(encode_event(event))
            body["data"]["pick_id"] = pick_id
            message = aio_pika.Message(
                json.dumps(body).encode(),
                content_type=EVENT_CONTENT_TYPE,
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            )
            await exchange.publish(message, routing_key(event, number), mandatory=True)

        async def is_counted() -> bool:
            return await calls_today() == 2

        await until(is_counted, 20, "both calls are counted")
        assert (await ask())[0] == 409  # two calls, one reservation
        async with session.delete(f"{engine}{path}/picks/{picked[2]}") as response:
            assert response.status == 204
        assert (await ask())[0] == 201
        assert (await ask())[0] == 409
