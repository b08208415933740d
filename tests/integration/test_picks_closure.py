"""When nobody is answered: reservations may be missing, the facts are old, or the definitions went back."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from integration.picks_world import CUSTOMER, PicksWorld, picks_world
from integration.private_redis import RedisSnapshot
from pick_groups import group, member
from rotary.policy import MAX_PICK_TTL_SECONDS, Policy
from rotary.redis import keys
from rotary.redis.connection import load_functions
from rotary.redis.documents import part_of
from rotary.redis.fold import PositionLostError
from rotary.redis.picks import PicksClosedError, open_picks

pytestmark = pytest.mark.asyncio(loop_scope="function")


@pytest_asyncio.fixture(loop_scope="function")
async def world(redis_url: str) -> AsyncIterator[PicksWorld]:
    async with picks_world(redis_url) as one:
        yield one


async def closure(world: PicksWorld) -> PicksClosedError:
    with pytest.raises(PicksClosedError) as caught:
        await world.pick()
    return caught.value


async def test_a_redis_of_which_nothing_is_known_is_closed_until_no_reservation_can_be_missing(
    world: PicksWorld,
) -> None:
    await world.define(group([member(1)]))
    await world.pick()
    await world.client.delete(keys.tag(keys.bucket_of(CUSTOMER)) + "picks")
    closed = await closure(world)
    assert closed.code == "loss"
    assert 0 < closed.retry_after_ms <= MAX_PICK_TTL_SECONDS * 1_000 + 2_000
    await world.wait(MAX_PICK_TTL_SECONDS * 1_000 - 5_000)
    assert (await closure(world)).code == "loss"
    await world.wait(7_000)
    await world.pick()


async def test_no_reservation_that_may_be_missing_outlives_the_closure(world: PicksWorld) -> None:
    """One ends at a whole second, up to a second after its time."""
    await world.define(group([member(1)], policy=Policy(pick_ttl_seconds=MAX_PICK_TTL_SECONDS)))
    length_ms = 0
    while length_ms < MAX_PICK_TTL_SECONDS * 1_000 + 600:
        await world.wait(1_010 - await world.now_ms() % 1_000)
        picked = await world.pick()
        length_ms = picked.expires_at_ms - world.engine.now_ms
    await world.client.delete(keys.tag(keys.bucket_of(CUSTOMER)) + "picks")
    closed = await closure(world)
    assert world.complete_ms + closed.retry_after_ms >= picked.expires_at_ms


async def test_an_operators_word_opens_a_new_redis(world: PicksWorld) -> None:
    await world.define(group([member(1)]))
    await world.client.delete(keys.tag(keys.bucket_of(CUSTOMER)) + "picks")
    await closure(world)
    await open_picks(world.client)
    await world.pick()


async def picked_and_restored(world: PicksWorld) -> None:
    """Picks twice, and restores Redis to what it was in between."""
    await world.pick()
    before = await RedisSnapshot.take(world.client)
    await world.pick()
    await before.restore(world.client)


async def test_a_restored_redis_is_closed_also_to_an_engine_that_knows_nothing(world: PicksWorld) -> None:
    await world.define(group([member(1, daily_cap=2)]))
    await picked_and_restored(world)
    with pytest.raises(PicksClosedError):
        await world.pick(world.another())


async def test_an_engine_notices_a_restored_redis_after_its_functions_were_loaded_again(world: PicksWorld) -> None:
    """The process that noticed would be another: only an engine remembers."""
    await world.define(group([member(1, daily_cap=2)]))
    await picked_and_restored(world)
    await load_functions(world.client)
    await world.engine.notice()
    with pytest.raises(PicksClosedError):
        await world.pick(world.another())


async def test_another_run_of_redis_is_closed(world: PicksWorld) -> None:
    await world.define(group([member(1)]))
    await world.client.hset(keys.tag(keys.bucket_of(CUSTOMER)) + "picks", "run", "another")
    assert (await closure(world)).code == "loss"


async def test_functions_that_are_loaded_again_close_nothing(world: PicksWorld) -> None:
    await world.define(group([member(1)]))
    await world.pick()
    await load_functions(world.client)
    await world.pick()


async def test_facts_that_are_old_close_the_customer(world: PicksWorld) -> None:
    await world.define(group([member(1)]))
    await world.pick()
    await world.advance(lag_ms=11_000)
    assert (await closure(world)).code == "position"


async def test_definitions_that_are_being_rebuilt_close_the_customer(world: PicksWorld) -> None:
    await world.define(group([member(1)]))
    await world.pick()
    await world.client.hdel(part_of(CUSTOMER), "complete")
    assert (await closure(world)).code == "definitions"


async def test_definitions_that_went_back_close_the_customer_to_who_saw_newer_ones(world: PicksWorld) -> None:
    await world.define(group([member(1)]))
    await world.pick()
    await world.client.hset(part_of(CUSTOMER), "newest", "0")
    assert (await closure(world)).code == "definitions"


async def test_another_generation_of_the_facts_is_closed_until_it_has_what_was_on_its_way(world: PicksWorld) -> None:
    await world.define(group([member(1)]))
    await world.pick()
    bucket = keys.bucket_of(CUSTOMER)
    at = await world.positions.now_ms() - 1_500
    await world.client.hset(keys.position(bucket, 1), mapping={"logs": "calls.0", "read": f"{at} 0 0"})
    await world.client.set(keys.generation(bucket), 1)
    assert (await closure(world)).code == "loss"
    await world.client.hset(keys.position(bucket, 1), "read", f"{await world.positions.now_ms() + 5} 0 0")
    await world.pick()


async def test_a_consumer_that_finds_redis_behind_closes_it_to_engines_that_know_nothing(world: PicksWorld) -> None:
    """After the functions were loaded again, no process remembers what was picked."""
    await world.define(group([member(1, daily_cap=2)]))
    await world.call(1)
    before = await RedisSnapshot.take(world.client)
    world.is_behind = True  # nothing advances but what is said here
    await world.fold()
    await before.restore(world.client)
    await load_functions(world.client)
    with pytest.raises(PositionLostError):
        await world.fold()
    world.end -= 2
    await world.fold()
    with pytest.raises(PicksClosedError) as caught:
        await world.pick(world.another())
    assert caught.value.code == "loss"
