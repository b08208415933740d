"""Since when everything that arrived is in the facts, as each bucket says it: what history may believe."""

from redis.asyncio import Redis

from histories import placed
from integration.positions_world import ALL, BUCKET, CALLS, CUSTOMER, HOUR, LOGS, OTHER, complete
from rotary.redis import keys
from rotary.redis.fold import Span, batches_of, fold
from rotary.redis.pipeline import Pipeline
from rotary.redis.positions import Positions


async def since(redis: Redis, log: str, bucket: int = BUCKET) -> int | None:
    """Since when everything that arrived in a log is in the facts of a bucket."""
    stored = await redis.hget(keys.position(bucket), f"{log}^")
    return None if stored is None else int(stored)


async def test_a_bucket_says_since_when_everything_that_arrived_is_in_it(redis: Redis, pipeline: Pipeline) -> None:
    positions = Positions(pipeline)
    now_ms = await positions.now_ms()
    begins = Span(CALLS, None, 5, now_ms, None, 4_000)
    await fold(pipeline, {BUCKET: batches_of([(CUSTOMER, placed("1"))])}, {BUCKET: begins}, CALLS)
    reached = [5 if bucket == BUCKET else None for bucket in ALL]
    await positions.advance(CALLS, 9, now_ms, LOGS, reached, reached, 5_000)
    assert await since(redis, CALLS) == 4_000, "it began with the fold"
    assert await since(redis, CALLS, OTHER) == 5_000
    goes_on = Span(CALLS, 9, 10, now_ms, 9, 6_000)
    await fold(pipeline, {BUCKET: batches_of([(CUSTOMER, placed("2"))])}, {BUCKET: goes_on}, CALLS)
    await positions.advance(CALLS, 11, now_ms, LOGS, [10] * keys.BUCKETS, None, 6_000)
    assert await since(redis, CALLS) == 4_000
    await positions.claim(CALLS, [BUCKET], 7_000)
    assert await since(redis, CALLS) == 4_000


async def test_of_a_bucket_that_does_not_say_it_nothing_earlier_than_now_is_believed(
    redis: Redis, positions: Positions
) -> None:
    await complete(positions)
    assert await since(redis, CALLS) is None
    await positions.claim(CALLS, [BUCKET], 7_000)
    assert (await since(redis, CALLS), await since(redis, CALLS, OTHER)) == (7_000, None)


async def test_after_a_gap_only_what_arrives_later_is_complete(redis: Redis, positions: Positions) -> None:
    now_ms = await complete(positions)
    await positions.claim(CALLS, ALL, 0)
    await positions.gap([BUCKET], CALLS, None, LOGS, now_ms + HOUR)
    assert await since(redis, CALLS) == 0, "the gap was found before"
    await positions.gap([BUCKET], CALLS, 20, LOGS, now_ms + HOUR)
    assert (await since(redis, CALLS) or 0) >= now_ms
    assert await since(redis, CALLS, OTHER) == 0
    await positions.accept_gap(CALLS, now_ms + HOUR)
    assert (await since(redis, CALLS) or 0) >= now_ms, "an operator's word does not bring events back"
    await positions.forget(CALLS)
    assert await since(redis, CALLS) is None
