"""Positions as tests of them set them up: two logs, and what one bucket of all of them says."""

from collections.abc import Sequence

from redis.asyncio import Redis

from histories import NOW, placed
from rotary.redis import keys
from rotary.redis.fold import Span, batches_of, fold
from rotary.redis.pipeline import Pipeline
from rotary.redis.positions import Advance, BucketStatus, Positions, decode_bucket_status

CALLS, FLAGS = "calls.0", "flags.0"
LOGS = (CALLS, FLAGS)
ALL = range(keys.BUCKETS)
NOTHING = [None] * keys.BUCKETS
CUSTOMER = 7
BUCKET = keys.bucket_of(CUSTOMER)
OTHER = (BUCKET + 1) % keys.BUCKETS
HOUR = 3_600_000


async def complete(positions: Positions, end: int = 10, *, logs: Sequence[str] = LOGS) -> int:
    """Every log is read to its end now; returns when, by Redis' clock."""
    now_ms = await positions.now_ms()
    for log in logs:
        stored = [position.next for position in await positions.read(log)]
        assert await positions.advance(log, end, now_ms, logs, stored) == Advance((), ())
    return now_ms


async def bucket_status(redis: Redis, bucket: int = BUCKET, generation: int = 0) -> BucketStatus:
    """What a bucket says of itself."""
    stored = await redis.hget(keys.position(bucket, generation), "read")
    assert not isinstance(stored, str)
    return decode_bucket_status(stored)


async def fold_one(pipeline: Pipeline, begin: int | None, end: int, generation: int = 0, name: str = "1") -> None:
    """Folds one call of the customer's."""
    span = Span(CALLS, begin, end, NOW, begin)
    await fold(pipeline, {BUCKET: batches_of([(CUSTOMER, placed(name))])}, {BUCKET: span}, ",".join(LOGS), generation)
