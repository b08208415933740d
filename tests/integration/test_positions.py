"""Positions on a real server: what a bucket says of itself, and that no gap is passed over in silence."""

import time
from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from histories import NOW, placed
from integration.private_redis import heard, is_of, names
from rotary.errors import ConfigurationError
from rotary.redis import keys
from rotary.redis.connection import check_server
from rotary.redis.fold import FoldLostError, GenerationReplacedError, PositionLostError, Span, batches_of, fold
from rotary.redis.pipeline import Pipeline
from rotary.redis.positions import (
    CURRENT_MS,
    RECOVERY_LIMIT_MS,
    UNKNOWN,
    Advance,
    BucketStatus,
    LogPosition,
    Positions,
    decode_bucket_status,
    switch,
)

pytestmark = pytest.mark.asyncio(loop_scope="function")

CALLS, FLAGS = "calls.0", "flags.0"
LOGS = (CALLS, FLAGS)
ALL = range(keys.BUCKETS)
NOTHING = [None] * keys.BUCKETS
CUSTOMER = 7
BUCKET = keys.bucket_of(CUSTOMER)
OTHER = (BUCKET + 1) % keys.BUCKETS
HOUR = 3_600_000


@pytest_asyncio.fixture(loop_scope="function")
async def pipeline(redis: Redis) -> AsyncIterator[Pipeline]:
    pipeline = Pipeline(redis)
    yield pipeline
    await pipeline.close()


@pytest.fixture
def positions(pipeline: Pipeline) -> Positions:
    return Positions(pipeline)


async def complete(positions: Positions, end: int = 10, *, logs: Sequence[str] = LOGS) -> int:
    """Every log is read to its end now; returns when, by Redis' clock."""
    now_ms = await positions.now_ms()
    for log in logs:
        stored = [position.next for position in await positions.read(log)]
        assert await positions.advance(log, end, now_ms, logs, stored) == Advance((), ())
    return now_ms


async def bucket_status(redis: Redis, bucket: int = BUCKET, generation: int = 0) -> BucketStatus:
    stored = await redis.hget(keys.position(bucket, generation), "read")
    assert not isinstance(stored, str)
    return decode_bucket_status(stored)


async def fold_one(pipeline: Pipeline, begin: int | None, end: int, generation: int = 0, name: str = "1") -> None:
    span = Span(CALLS, begin, end, NOW, begin)
    await fold(pipeline, {BUCKET: batches_of([(CUSTOMER, placed(name))])}, {BUCKET: span}, ",".join(LOGS), generation)


# What a bucket_status means


@pytest.mark.parametrize(
    ("bucket_status", "age_ms", "refusal"),
    [
        (UNKNOWN, NOW, "rebuilt"),
        (BucketStatus(NOW, 0, 0), 0, None),
        (BucketStatus(NOW - HOUR, 0, 0), HOUR, None),
        (BucketStatus(NOW + HOUR, 0, 0), HOUR, None),
        (BucketStatus(NOW - RECOVERY_LIMIT_MS, NOW, 0), RECOVERY_LIMIT_MS, None),
        (BucketStatus(NOW - RECOVERY_LIMIT_MS - 1, NOW, 0), RECOVERY_LIMIT_MS + 1, "rebuilt"),
        (BucketStatus(NOW, 0, NOW + 1), 0, "lost events"),
        (BucketStatus(NOW, 0, NOW), 0, None),
    ],
)
async def test_a_standing_says_how_old_the_facts_are_and_when_they_must_not_be_shown(
    bucket_status: BucketStatus, age_ms: int, refusal: str | None
) -> None:
    assert bucket_status.age_ms(NOW) == age_ms
    said = bucket_status.refusal(NOW)
    assert (said is None) if refusal is None else (said is not None and refusal in said)


async def test_an_empty_redis_knows_nothing(positions: Positions) -> None:
    assert set(await positions.bucket_statuses()) == {UNKNOWN}
    assert set(await positions.read(CALLS)) == {LogPosition(None, 0)}
    assert await positions.logs() == []


async def test_a_bucket_is_complete_only_when_every_log_it_must_hold_is_at_its_end(
    redis: Redis, positions: Positions
) -> None:
    now_ms = await positions.now_ms()
    await positions.advance(CALLS, 5, now_ms, LOGS, NOTHING)
    assert (await bucket_status(redis)).complete_ms == 0
    await positions.advance(FLAGS, 3, now_ms - 500, LOGS, NOTHING)
    assert set(await positions.bucket_statuses()) == {BucketStatus(now_ms - 500, 0, 0)}
    assert await positions.logs() == list(LOGS)
    assert (await positions.read(CALLS))[OTHER] == LogPosition(5, now_ms)


async def test_folding_says_what_was_folded_and_nothing_of_being_current(
    redis: Redis, pipeline: Pipeline, positions: Positions
) -> None:
    await fold_one(pipeline, None, 4)
    assert (await positions.read(CALLS))[BUCKET] == LogPosition(4, NOW)
    assert await bucket_status(redis) == UNKNOWN


async def test_a_new_log_closes_the_buckets_until_it_is_read_and_one_that_is_read_first_never_does(
    redis: Redis, positions: Positions
) -> None:
    now_ms = await complete(positions)
    new = "calls.1"
    await positions.advance(new, 1, now_ms, [*LOGS, new], NOTHING)
    assert (await bucket_status(redis)).complete_ms == now_ms
    await positions.advance(CALLS, 10, now_ms, [*LOGS, new, "calls.2"], [10] * keys.BUCKETS)
    assert (await bucket_status(redis)).complete_ms == 0, "calls.2 has events, and nobody has read them"


async def test_the_time_of_an_advance_is_the_markers_also_when_the_servers_clock_went_back(
    redis: Redis, positions: Positions
) -> None:
    now_ms = await complete(positions)
    for log in LOGS:
        await positions.advance(log, 20, now_ms - HOUR, LOGS, [10] * keys.BUCKETS)
    assert (await bucket_status(redis)).complete_ms == now_ms - HOUR


# What went back


async def test_a_reader_that_is_further_than_redis_is_told_and_readers_are_told_too(
    redis: Redis, pipeline: Pipeline, positions: Positions
) -> None:
    now_ms = await complete(positions)
    for refused in (fold_one(pipeline, 11, 12), fold_one(pipeline, 999, 1000)):
        with pytest.raises(PositionLostError):
            await refused
    back_ms = (await bucket_status(redis)).back_ms
    assert now_ms <= back_ms <= await positions.now_ms()
    assert (await positions.read(CALLS))[BUCKET] == LogPosition(10, now_ms)
    assert not await redis.exists(keys.calls(CUSTOMER, 18, NOW // 86_400_000))


async def test_a_reader_whose_own_fold_never_arrived_is_told_and_nobody_takes_redis_for_gone_back(
    redis: Redis, pipeline: Pipeline, positions: Positions
) -> None:
    now_ms = await complete(positions)
    span = Span(CALLS, 11, 12, NOW, acknowledged=10)
    for offset in (12, None):  # also where the position is to stay
        with pytest.raises(FoldLostError):
            await fold(
                pipeline,
                {BUCKET: batches_of([(CUSTOMER, placed("1"))])},
                {BUCKET: span._replace(end=offset)},
                ",".join(LOGS),
            )
    continued: list[int | None] = [10] * keys.BUCKETS
    continued[BUCKET] = 11
    assert await positions.advance(CALLS, 20, now_ms, LOGS, continued, [10] * keys.BUCKETS) == Advance(
        (), (), is_ahead=True
    )
    assert (await bucket_status(redis)).back_ms == 0
    assert (await positions.read(CALLS))[BUCKET].next == 10


async def test_it_has_gone_back_until_a_marker_that_is_later(
    pipeline: Pipeline, redis: Redis, positions: Positions
) -> None:
    await complete(positions)
    with pytest.raises(PositionLostError):
        await fold_one(pipeline, 11, 12)
    back_ms = (await bucket_status(redis)).back_ms
    await positions.advance(CALLS, 20, back_ms - 1, LOGS, [10] * keys.BUCKETS)
    assert (await bucket_status(redis)).back_ms == back_ms
    await positions.advance(CALLS, 21, back_ms, LOGS, [20] * keys.BUCKETS)
    assert (await bucket_status(redis)).back_ms == 0


async def test_an_advance_moves_the_buckets_that_are_where_they_should_be_and_names_the_others(
    positions: Positions,
) -> None:
    now_ms = await complete(positions)
    continued: list[int | None] = [10] * keys.BUCKETS
    continued[BUCKET] = 11
    assert await positions.advance(CALLS, 20, now_ms, LOGS, continued, continued) == Advance((BUCKET,), ())
    stored = [position.next for position in await positions.read(CALLS)]
    assert (stored[BUCKET], stored[OTHER]) == (10, 20)


async def test_an_advance_tells_every_bucket_apart_from_its_neighbours(redis: Redis, positions: Positions) -> None:
    """Most buckets are as the one before: what differs in one must not be taken from another."""
    now_ms = await complete(positions)
    for bucket in ALL:
        await advance_flags(redis, bucket, now_ms + bucket % 3)
    for step in (1, 2):
        assert await positions.advance(CALLS, 10 + step, now_ms + step, LOGS, [9 + step] * keys.BUCKETS) == Advance(
            (), ()
        )
        assert [status.complete_ms for status in await positions.bucket_statuses()] == [
            now_ms + min(bucket % 3, step) for bucket in ALL
        ]


async def advance_flags(redis: Redis, bucket: int, at_ms: int) -> None:
    failed = await redis.fcall("advance_1", 1, keys.position(bucket), FLAGS, 10, at_ms, ",".join(LOGS), 10)
    assert failed == []


async def test_an_advance_never_takes_a_position_back(positions: Positions) -> None:
    now_ms = await complete(positions, 50)
    assert await positions.advance(CALLS, 20, now_ms + 1, LOGS, [10] * keys.BUCKETS) == Advance((), ())
    assert set(await positions.read(CALLS)) == {LogPosition(50, now_ms)}


# Gaps


async def test_a_gap_closes_just_the_buckets_that_need_what_is_lost_and_reading_goes_on_behind_it(
    redis: Redis, positions: Positions
) -> None:
    now_ms = await complete(positions)
    until_ms = now_ms + HOUR
    await positions.gap([BUCKET], CALLS, 100, LOGS, until_ms)
    assert (await positions.read(CALLS))[BUCKET].next == 100
    assert (await bucket_status(redis)).gap_ms == until_ms
    assert (await bucket_status(redis, OTHER)).gap_ms == 0
    await positions.advance(CALLS, 110, now_ms + 1, LOGS, [100 if b == BUCKET else 10 for b in ALL])
    assert (await bucket_status(redis)).gap_ms == until_ms, "also once it is current again"


async def test_a_gap_that_is_found_again_keeps_its_end(redis: Redis, positions: Positions) -> None:
    now_ms = await complete(positions)
    for _ in range(2):
        await positions.gap(ALL, CALLS, 0, LOGS, now_ms + HOUR)
        now_ms += 1
    assert (await bucket_status(redis)).gap_ms == now_ms - 2 + HOUR


async def test_a_known_gap_is_closed_again_in_an_emptied_redis_without_a_position(
    redis: Redis, positions: Positions
) -> None:
    until_ms = await positions.now_ms() + HOUR
    await positions.gap(ALL, CALLS, None, LOGS, until_ms)
    assert (await bucket_status(redis)).gap_ms == until_ms
    assert (await positions.read(CALLS))[BUCKET].next is None


async def test_an_accepted_gap_opens_and_one_that_was_found_since_stays_closed(
    redis: Redis, positions: Positions
) -> None:
    now_ms = await complete(positions)
    await positions.gap([BUCKET], CALLS, 100, LOGS, now_ms + HOUR)
    await positions.gap([OTHER], CALLS, 100, LOGS, now_ms + 2 * HOUR)
    assert await positions.accept_gap(CALLS, 0) == (0, now_ms + 2 * HOUR)
    assert await positions.accept_gap(CALLS, now_ms + HOUR) == (1, now_ms + 2 * HOUR)
    assert ((await bucket_status(redis)).gap_ms, (await bucket_status(redis, OTHER)).gap_ms) == (0, now_ms + 2 * HOUR)
    assert await positions.accept_gap(CALLS, now_ms + 2 * HOUR) == (1, 0)


async def test_a_log_that_is_forgotten_holds_nothing_back(redis: Redis, positions: Positions) -> None:
    now_ms = await complete(positions)
    old = "calls.9"
    await positions.advance(old, 1, now_ms - HOUR, [*LOGS, old], NOTHING)
    assert (await bucket_status(redis)).complete_ms == now_ms - HOUR
    await positions.forget(old)
    assert (await bucket_status(redis)).complete_ms == now_ms
    assert await positions.logs() == list(LOGS)
    fields = await redis.hkeys(keys.position(BUCKET))
    assert not [field for field in fields if isinstance(field, bytes) and field.startswith(old.encode())]


async def test_forgetting_what_is_forgotten_tells_nobody(redis: Redis, positions: Positions) -> None:
    await complete(positions)
    async with heard(redis) as changes:
        await positions.forget("calls.9")
        assert await changes.messages() == []


# What is announced


async def test_every_move_of_a_standing_is_announced_with_all_its_buckets(redis: Redis, positions: Positions) -> None:
    now_ms = await complete(positions)
    async with heard(redis) as changes:
        await positions.advance(CALLS, 20, now_ms + 1, LOGS, [10] * keys.BUCKETS)
        await positions.advance(FLAGS, 20, now_ms + 2, LOGS, [10] * keys.BUCKETS)
        await positions.gap([BUCKET], CALLS, 100, LOGS, now_ms + HOUR)
        told = [msgspec.msgpack.decode(one) for one in await changes.messages() if is_of(one, "positions")]
    assert [
        {read: sorted(buckets) for read, buckets in groups} for _, _, groups in told
    ] == [
        {f"{now_ms} 0 0": list(ALL)},
        {f"{now_ms + 1} 0 0": list(ALL)},
        {f"{now_ms + 1} 0 {now_ms + HOUR}": [BUCKET]},
    ]  # fmt: skip


async def test_what_happens_to_a_generation_that_nobody_reads_is_not_announced(
    redis: Redis, pipeline: Pipeline
) -> None:
    async with heard(redis) as changes:
        await complete(Positions(pipeline, 1))
        await fold_one(pipeline, 10, 11, generation=1)
        assert await changes.messages() == []


# Generations


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


async def test_a_server_that_would_evict_is_refused(redis: Redis) -> None:
    await check_server(redis)
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(ConfigurationError, match="maxmemory-policy allkeys-lru: set noeviction"):
            await check_server(redis)
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")
