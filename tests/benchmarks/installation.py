"""A large installation: a hundred caller IDs for each of very many customers, and a call of each.

Postgres is filled with SQL, as fast as it goes. The definitions come into Redis by the projector; the
facts are those of one customer, folded by the function, and copies of them.
"""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import asyncpg
from redis.asyncio import Redis

from benchmarks.facts import Facts
from rotary.publisher import EventFactory
from rotary.redis import keys
from rotary.redis.pipeline import Pipeline, pack

CALLERS_A_CUSTOMER = 100
CALLERS_A_GROUP = 50
DAY_SECONDS = 86_400
TOGETHER = 20
"""Customers whose facts are written in one round trip."""

# The triggers and foreign keys are for who may write something wrong; without them this takes a third of the time. The
# change feed stays empty: a first projector reads everything anyway.
_UNGUARDED = """
ALTER TABLE caller_id_group_members DISABLE TRIGGER USER,
  DROP CONSTRAINT member_group_of_one_customer, DROP CONSTRAINT member_caller_id_of_one_customer;
ALTER TABLE caller_id_groups DISABLE TRIGGER USER;
ALTER TABLE api_tokens DISABLE TRIGGER USER;
ALTER TABLE customers DISABLE TRIGGER USER;
ALTER TABLE caller_ids DISABLE TRIGGER USER, DROP CONSTRAINT caller_ids_customer_id_fkey;
"""
_FILL = """
CREATE FUNCTION pg_temp.fill(callers bigint, a_customer bigint, a_group bigint) RETURNS void LANGUAGE sql AS $$
  INSERT INTO customers (id, name) SELECT n, 'Benchmark' FROM generate_series(1, callers / a_customer) AS n;
  INSERT INTO api_tokens (customer_id, name, token_sha256)
    SELECT n, 'dashboard', sha256(n::text::bytea) FROM generate_series(1, callers / a_customer) AS n;
  INSERT INTO caller_ids (id, customer_id, number, display_name, carrier, trunk_name)
    SELECT n, 1 + (n - 1) / a_customer, '+8490' || n, 'Sales ' || n, 'viettel', 'trunk-hcm-1'
    FROM generate_series(1, callers) AS n;
  INSERT INTO caller_id_groups (id, customer_id, name, rotation_strategy)
    SELECT n, 1 + (n - 1) / (a_customer / a_group), 'Sales HCM', 'cap_based'
    FROM generate_series(1, callers / a_group) AS n;
  INSERT INTO caller_id_group_members (group_id, caller_id_id, customer_id)
    SELECT 1 + (n - 1) / a_group, n, 1 + (n - 1) / a_customer FROM generate_series(1, callers) AS n;
$$
"""
_COPY = """
local copied = 0
for at = 1, #KEYS / 2 do copied = copied + redis.call('COPY', KEYS[at], KEYS[#KEYS / 2 + at]) end
return copied
"""


async def fill(postgres: str, redis: Redis, callers: int) -> None:
    """Fills both, whose tables and database are empty."""
    await asyncio.gather(_define(postgres, callers), _place_calls(redis, callers))


async def _define(url: str, callers: int) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_UNGUARDED)
        await connection.execute(_FILL)
        await connection.fetchval("SELECT pg_temp.fill($1, $2, $3)", callers, CALLERS_A_CUSTOMER, CALLERS_A_GROUP)
    finally:
        await connection.close()


async def _place_calls(redis: Redis, callers: int) -> None:
    """One call of each caller ID this hour: the first customer's are folded, and copied for the others."""
    earlier = datetime.now(UTC) - timedelta(minutes=10)
    day = int(earlier.timestamp()) // DAY_SECONDS
    facts, source, pipeline = Facts(redis), EventFactory("/dialers/hcm-1"), Pipeline(redis)
    try:
        calls = [source.call_placed(caller, time=earlier) for caller in range(1, CALLERS_A_CUSTOMER + 1)]
        await facts.fold(1, calls)
        customers = range(2, callers // CALLERS_A_CUSTOMER + 1)
        for at in range(0, len(customers), TOGETHER):
            some = customers[at : at + TOGETHER]
            for reply in await pipeline.call([_copy(customer, day) for customer in some]):
                assert reply == CALLERS_A_CUSTOMER * 2, reply
    finally:
        await pipeline.close()
        await facts.close()


def _copy(customer: int, day: int) -> bytes:
    names = [*_fact_keys(1, day), *_fact_keys(customer, day)]
    return pack("EVAL", _COPY, len(names), *names)


def _fact_keys(customer: int, day: int) -> Iterator[str]:
    first = (customer - 1) * CALLERS_A_CUSTOMER + 1
    for caller in range(first, first + CALLERS_A_CUSTOMER):
        yield keys.calls(customer, caller, day)
        yield keys.seen(customer, caller, day)
