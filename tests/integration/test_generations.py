"""A rebuild on demand: the next generation beside the one that is read, switched to when it holds as much."""

import re

import pytest

from histories import flagged, placed
from integration.consuming import Installation, meanwhile, now_ms
from integration.private_redis import names
from rotary.redis import keys
from running import until

pytestmark = pytest.mark.asyncio(loop_scope="function")

CUSTOMERS = range(1, 30)


async def fill(made: Installation) -> None:
    for customer in CUSTOMERS:
        await made.publish(customer, placed("1", now_ms()), placed("2", now_ms()), flagged("3", "blocked", now_ms()))
    await made.caught_up()


async def begin(made: Installation) -> int:
    """As `rotary-admin rebuild` does; returns the number of the generation that is being built."""
    building = await made.generation() + 1
    assert await made.redis.hsetnx(keys.REBUILD, "building", str(building))
    return building


async def rebuild(made: Installation) -> None:
    building = await begin(made)
    await until(lambda: is_current(made, building), 30, "the new generation is current")


async def is_current(made: Installation, generation: int) -> bool:
    return await made.generation() == generation and not await made.redis.hexists(keys.REBUILD, "building")


async def facts_of(made: Installation, generation: int) -> list[str]:
    """The keys of one generation's facts and positions."""
    part = f"{generation}/" if generation else ""
    wanted = re.compile(rf"\{{b\d+\}}{part}(position|\d+:(calls|seen|flags|unknown):.*)")
    return [name for name in await names(made.redis, "{b*") if wanted.fullmatch(name)]


async def test_a_rebuild_ends_with_the_facts_of_the_logs_and_readers_notice_nothing(installed: Installation) -> None:
    async with installed.consumer():
        await installed.caught_up()
        await fill(installed)
        before = {customer: await installed.facts_by_caller(customer, 18) for customer in CUSTOMERS}
        async with meanwhile(lambda: open_and_all_there(installed, 2)):
            await rebuild(installed)
            await installed.publish(1, placed("4", now_ms()))
            await installed.caught_up()
        assert await installed.calls(1) == 3
        for customer in CUSTOMERS[1:]:
            assert await installed.facts_by_caller(customer, 18) == before[customer]

        async def is_removed() -> bool:
            return not await facts_of(installed, 0)

        await until(is_removed, 15, "the old generation's facts are removed")
        pointers = {await installed.redis.get(keys.generation(bucket)) for bucket in range(keys.BUCKETS)}
        assert pointers == {b"1"}


async def open_and_all_there(made: Installation, calls: int) -> None:
    """Whoever reads sees open buckets and all that was counted."""
    now = await made.redis_now_ms()
    assert all(one.refusal(now) is None for one in await made.bucket_statuses()), "a monitor was closed"
    assert await made.calls(5) == calls, "a count went back"


async def test_a_rebuild_mends_what_somebody_broke_by_hand(installed: Installation) -> None:
    async with installed.consumer():
        await installed.caught_up()
        await fill(installed)
        await installed.redis.delete(*[name for name in await names(installed.redis) if ":calls:18:" in name])
        assert await installed.calls(5) == 0
        await rebuild(installed)
        assert await installed.calls(5) == 2


async def test_events_that_arrive_during_a_rebuild_are_in_both_generations(installed: Installation) -> None:
    async with installed.consumer(), installed.consumer():
        await installed.caught_up()
        await fill(installed)
        building = await begin(installed)
        count = 0

        async def published_until_it_is_over() -> bool:
            nonlocal count
            await installed.publish(40, placed(f"{count}", now_ms()))
            count += 1
            return await is_current(installed, building)

        await until(published_until_it_is_over, 30, "the new generation is current")
        await installed.caught_up()
        assert await installed.calls(40) == count


async def test_a_rebuild_after_a_rebuild_and_one_that_redis_forgot(installed: Installation) -> None:
    async with installed.consumer():
        await installed.caught_up()
        await fill(installed)
        for expected in (1, 2):
            building = await begin(installed)
            assert building == expected
            await until(lambda: is_current(installed, building), 30, "the new generation is current")  # noqa: B023
        await begin(installed)
        await installed.redis.flushdb()
        await installed.caught_up()
        assert await installed.generation() == 0
        assert [await installed.calls(customer) for customer in CUSTOMERS] == [2] * len(CUSTOMERS)


async def test_a_consumer_that_begins_during_a_rebuild_goes_on_with_it(installed: Installation) -> None:
    async with installed.consumer():
        await installed.caught_up()
        await fill(installed)
    building = await begin(installed)
    async with installed.consumer():
        await until(lambda: is_current(installed, building), 30, "the new generation is current")
        assert [await installed.calls(customer) for customer in CUSTOMERS] == [2] * len(CUSTOMERS)


async def test_a_request_for_an_older_generation_changes_nothing(installed: Installation) -> None:
    """Two rebuilds were requested at once, and the slower request names a generation that is already replaced."""
    async with installed.consumer():
        await installed.caught_up()
        await fill(installed)
        for _ in range(2):
            await rebuild(installed)
        await installed.redis.hset(keys.REBUILD, "building", "1")

        async def is_answered() -> bool:
            return not await installed.redis.hexists(keys.REBUILD, "building")

        await until(is_answered, 30, "the request is answered")
        assert await is_current(installed, 2)
        await installed.publish(1, placed("4", now_ms()))
        await installed.caught_up()
        assert await installed.calls(1) == 3
