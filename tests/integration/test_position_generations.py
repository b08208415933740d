"""Generations of positions: a bucket is read from the new one when that is complete, and never goes back."""

import time

import msgspec
import pytest
from redis.asyncio import Redis

from histories import NOW, placed
from integration.positions_world import (
    BUCKET,
    CALLS,
    CUSTOMER,
    HOUR,
    LOGS,
    NOTHING,
    complete,
    fold_one,
)
from integration.private_redis import heard, names
from rotary.redis import keys
from rotary.redis.fold import GenerationReplacedError, Span, batches_of, fold
from rotary.redis.pipeline import Pipeline
from rotary.redis.positions import (
    CURRENT_MS,
    Advance,
    Positions,
    switch,
)


async def test_a_bucket_switches_when_the_new_generation_is_complete_now(
    redis: Redis, pipeline: Pipeline, positions: Positions
) -> None:
    await complete(positions)
    new = Positions(pipeline, 1)
    assert not await switch(redis, BUCKET, 1, exact=False), "there is nothing in it"
    now_ms = await new.now_ms()
    for log in LOGS:
        await new.advance(log, 10, now_ms - CURRENT_MS - 1_000, LOGS, NOTHING)
    assert not await switch(redis, BUCKET, 1, exact=False), "it is not at the end of the logs"
    await complete(new)
    assert await switch(redis, BUCKET, 1, exact=True)
    assert await redis.get(keys.generation(BUCKET)) == b"1"
    assert await switch(redis, BUCKET, 1, exact=True), "once more does no harm"


async def test_a_clock_that_went_back_makes_no_generation_complete(
    redis: Redis, pipeline: Pipeline, positions: Positions
) -> None:
    await complete(positions)
    new = Positions(pipeline, 1)
    now_ms = await new.now_ms()
    for log in LOGS:
        await new.advance(log, 10, now_ms + HOUR, LOGS, NOTHING)
    assert not await switch(redis, BUCKET, 1, exact=False)


async def test_an_exact_switch_never_takes_a_count_back(redis: Redis, pipeline: Pipeline, positions: Positions) -> None:
    await complete(positions, 11)
    await complete(Positions(pipeline, 1), 10)
    assert not await switch(redis, BUCKET, 1, exact=True)
    assert await switch(redis, BUCKET, 1, exact=False)


async def test_a_generation_without_a_log_that_the_old_one_has_is_not_complete(
    redis: Redis, pipeline: Pipeline, positions: Positions
) -> None:
    await complete(positions)
    await complete(Positions(pipeline, 1), logs=(CALLS,))
    assert not await switch(redis, BUCKET, 1, exact=False)


async def test_nothing_is_folded_into_a_generation_that_was_replaced(
    redis: Redis, pipeline: Pipeline, positions: Positions
) -> None:
    now_ms = await complete(positions)
    await complete(Positions(pipeline, 1))
    assert await switch(redis, BUCKET, 1, exact=True)
    with pytest.raises(GenerationReplacedError):
        await fold_one(pipeline, 10, 11)
    assert await positions.advance(CALLS, 11, now_ms, LOGS, [10] * keys.BUCKETS) == Advance((), (BUCKET,))
    assert not await redis.exists(keys.calls(CUSTOMER, 18, NOW // 86_400_000))
    assert (await positions.read(CALLS))[BUCKET].next == 10
    await fold_one(pipeline, 10, 11, generation=1)
    assert await redis.exists(keys.seen(CUSTOMER, 18, NOW // 86_400_000, 1)) == 0, "it was of a day that is long over"


async def test_the_switch_of_a_bucket_is_announced(redis: Redis, pipeline: Pipeline, positions: Positions) -> None:
    await complete(positions)
    await complete(Positions(pipeline, 1))
    async with heard(redis) as changes:
        await switch(redis, BUCKET, 1, exact=True)
        assert [msgspec.msgpack.decode(one) for one in await changes.messages()] == [["generation", BUCKET, 1]]


async def test_only_a_replaced_generations_facts_are_removed(
    redis: Redis, pipeline: Pipeline, positions: Positions
) -> None:
    """Whoever removes them may be late: Redis may have been emptied meanwhile, and the generation be the one that is
    read."""
    today_ms = int(time.time() * 1000)
    await complete(positions)
    span = Span(CALLS, 10, 11, today_ms, 10)
    await fold(pipeline, {BUCKET: batches_of([(CUSTOMER, placed("1", today_ms))])}, {BUCKET: span}, CALLS)
    facts = await names(redis, f"{keys.facts_prefix(CUSTOMER)}*")
    assert facts
    assert await redis.fcall("remove_1", len(facts), *facts) == 0
    await complete(Positions(pipeline, 1), 12)
    assert await switch(redis, BUCKET, 1, exact=True)
    built = [name for name in await names(redis) if name.startswith("{b") and "}1/" in name]
    assert await redis.fcall("remove_1", len(facts) + len(built), *facts, *built) == len(facts)
