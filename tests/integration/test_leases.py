"""Leases: fair shares to within one, and what a dead consumer read goes to those that live."""

import asyncio
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from rotary.redis import keys
from rotary.redis.positions import lease
from running import until

pytestmark = pytest.mark.asyncio(loop_scope="function")

UNITS = [f"0/calls.{number}" for number in range(4)] + ["0/flags.0"]
TTL_MS = 60_000


async def settle(redis: Redis, consumers: Sequence[str], units: Sequence[str] = UNITS) -> dict[str, list[str]]:
    """What each holds once every one of them has asked a few times."""
    held: dict[str, list[str]] = {}
    for _ in range(3):
        for consumer in consumers:
            held[consumer] = await lease(redis, consumer, TTL_MS, units)
    return held


def is_fair(held: dict[str, list[str]], units: Sequence[str]) -> bool:
    """Every unit has one reader, and no consumer two more than another."""
    shares = [len(mine) for mine in held.values()]
    return sorted(unit for mine in held.values() for unit in mine) == sorted(units) and max(shares) - min(shares) <= 1


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["join", "leave", "unit", "retire", "empty"]), max_size=8), st.integers(0, 2**32))
async def test_shares_are_fair_to_within_one_whoever_comes_and_goes(redis: Redis, steps: list[str], seed: int) -> None:
    await redis.flushdb()
    random, consumers, units = Random(seed), ["c0"], list(UNITS)
    for number, step in enumerate(steps, 1):
        if step == "join":
            consumers.append(f"c{number}")
        elif step == "leave" and len(consumers) > 1:
            await lease(redis, consumers.pop(random.randrange(len(consumers))), 0, ())
        elif step == "unit":
            units.append(f"1/calls.{number}")
        elif step == "retire" and units:
            units.pop(random.randrange(len(units)))
        elif step == "empty":
            await redis.flushdb()
        random.shuffle(consumers)
        assert is_fair(await settle(redis, consumers, units), units)


async def test_nobody_gives_up_more_than_its_surplus_when_another_comes(redis: Redis) -> None:
    [before] = (await settle(redis, ["a"])).values()
    after = await settle(redis, ["a", "b"])
    assert set(after["a"]) < set(before)
    assert len(after["a"]) in (2, 3)


async def test_no_unit_has_two_readers_even_while_shares_move(redis: Redis) -> None:
    await settle(redis, ["a"])
    for _ in range(3):
        a = await lease(redis, "a", TTL_MS, UNITS)
        b = await lease(redis, "b", TTL_MS, UNITS)
        assert not set(a) & set(b)


async def test_what_a_dead_consumer_read_goes_to_the_others(redis: Redis) -> None:
    held = await settle(redis, ["a", "b"])
    assert held["b"]
    await redis.hset(keys.LEASES, "c b", "1")  # as long silent
    assert sorted(await lease(redis, "a", TTL_MS, UNITS)) == sorted(UNITS)


async def test_a_lease_ends_by_itself(redis: Redis) -> None:
    await lease(redis, "b", 50, UNITS)

    async def all_ours() -> bool:
        return sorted(await lease(redis, "a", TTL_MS, UNITS)) == sorted(UNITS)

    await until(all_ours, 5, "the silent one's logs are ours")


async def test_who_leaves_is_replaced_at_once(redis: Redis) -> None:
    await settle(redis, ["a", "b"])
    assert await lease(redis, "b", 0, UNITS) == []
    assert sorted(await lease(redis, "a", TTL_MS, UNITS)) == sorted(UNITS)


async def test_a_dead_consumers_lease_does_not_outlive_a_clock_that_goes_back(redis: Redis) -> None:
    """The server fails over to one whose clock is minutes behind: what was leased until then is not."""
    await settle(redis, ["a", "b"])
    await redis.hset(keys.LEASES, "c b", str(2**53))
    assert sorted(await lease(redis, "a", TTL_MS, UNITS)) == sorted(UNITS)


async def test_more_consumers_than_units_leaves_some_idle_and_nobody_twice(redis: Redis) -> None:
    held = await settle(redis, [f"c{number}" for number in range(8)])
    assert is_fair(held, UNITS)
    assert sum(not mine for mine in held.values()) == 3


async def test_many_ask_at_once_and_each_unit_has_one_reader(redis: Redis) -> None:
    names = [f"c{number}" for number in range(5)]
    for _ in range(3):
        held = await asyncio.gather(*(lease(redis, name, TTL_MS, UNITS) for name in names))
    assert is_fair(dict(zip(names, held, strict=True)), UNITS)
