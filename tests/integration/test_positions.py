"""Positions on a real server: what a bucket says of itself, and that no gap is passed over in silence."""

from typing import cast

import msgspec
import pytest
from redis.asyncio import Redis

from histories import NOW, placed
from integration.positions_world import (
    ALL,
    BUCKET,
    CALLS,
    CUSTOMER,
    FLAGS,
    HOUR,
    LOGS,
    NOTHING,
    OTHER,
    bucket_status,
    complete,
    fold_one,
)
from integration.private_redis import heard, is_of
from rotary.redis import keys
from rotary.redis.fold import FoldLostError, PositionLostError, Span, batches_of, fold
from rotary.redis.pipeline import Pipeline
from rotary.redis.positions import RECOVERY_LIMIT_MS, UNKNOWN, Advance, BucketStatus, LogPosition, Positions

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


async def test_an_advance_leaves_a_buckets_other_troubles_as_they_are(redis: Redis, positions: Positions) -> None:
    now_ms = await complete(positions)
    for number, log in enumerate((CALLS, FLAGS)):
        await positions.gap([bucket for bucket in ALL if bucket >> number & 1], log, 10, LOGS, now_ms + HOUR + number)
        for bucket in [bucket for bucket in ALL if bucket >> number & 4]:
            await redis.fcall("advance_1", 1, keys.position(bucket), log, 20, now_ms, ",".join(LOGS), 11)
    back_ms = await positions.now_ms()
    for to, marker_ms in ((20, now_ms + 1), (21, now_ms + 2), (22, back_ms), (23, back_ms + 1)):
        assert await positions.advance(CALLS, to, marker_ms, LOGS, [10] * keys.BUCKETS) == Advance((), ())
        stored = [cast("dict[bytes, bytes]", await redis.hgetall(keys.position(bucket))) for bucket in ALL]
        assert await positions.bucket_statuses() == [told_by_the_logs(fields) for fields in stored]
        assert [f"{CALLS}!".encode() in fields for fields in stored] == [
            marker_ms < back_ms and bool(bucket & 4) for bucket in ALL
        ]
    assert len(set(await positions.bucket_statuses())) >= 8


def told_by_the_logs(fields: dict[bytes, bytes]) -> BucketStatus:
    """What a bucket's logs say: the earliest end, the latest way back, the latest gap."""
    at, back, gap = ([int(fields.get(f"{log}{mark}".encode(), 0)) for log in LOGS] for mark in "@!#")
    return BucketStatus(min(at), max(back), max(gap))


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
