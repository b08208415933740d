"""What Redis holds about every caller ID: counters and flags as a reader sees them, and the identities counted."""

from collections.abc import Mapping, Sequence

from msgspec import Struct
from redis.asyncio import Redis

from faults.definitions import Customer
from rotary.domain.facts import DAY_MS, CallerFacts
from rotary.redis import keys
from rotary.redis.connection import translate_errors
from rotary.redis.facts import decode_facts, fact_keys
from rotary.redis.positions import FIELD, BucketStatus, decode_bucket_status


class Stored(Struct, frozen=True):
    """One customer's facts by caller ID; `seen` are (UTC day, identity of a call)."""

    facts_by_caller: dict[int, CallerFacts]
    seen: dict[int, set[tuple[int, int]]]


def days_around(now_ms: int) -> range:
    """The UTC days that accepted calls can be of, with one to spare at the far end."""
    return range(now_ms // DAY_MS - 3, now_ms // DAY_MS + 2)


async def read_facts(redis: Redis, customer: Customer, now_ms: int) -> Mapping[int, CallerFacts]:
    """Every caller ID's counters and flags, of the generation that readers read. Raises UnavailableError."""
    days = days_around(now_ms)
    while True:
        generation = await _generation(redis, customer)
        pipeline = redis.pipeline(transaction=True)
        pipeline.get(keys.generation(keys.bucket_of(customer.id)))
        pipeline.mget(fact_keys(customer.id, customer.callers, days, generation))
        with translate_errors():
            current, values = await pipeline.execute()
        if int(current or 0) == generation:
            return decode_facts(customer.callers, days, values)


async def read(redis: Redis, customer: Customer, now_ms: int) -> Stored:
    """Everything, all of it at one moment and of one generation. Raises UnavailableError."""
    days = days_around(now_ms)
    while True:
        generation = await _generation(redis, customer)
        pipeline = redis.pipeline(transaction=True)
        pipeline.get(keys.generation(keys.bucket_of(customer.id)))
        pipeline.mget(fact_keys(customer.id, customer.callers, days, generation))
        for caller in customer.callers:
            for day in days:
                pipeline.smembers(keys.seen(customer.id, caller, day, generation))
        with translate_errors():
            current, values, *members = await pipeline.execute()
        if int(current or 0) == generation:
            return Stored(decode_facts(customer.callers, days, values), _seen(customer.callers, days, members))


async def bucket_statuses(redis: Redis) -> tuple[int, list[BucketStatus]]:
    """Redis' clock in milliseconds, and what every bucket that readers read says of itself. Raises UnavailableError."""
    pipeline = redis.pipeline(transaction=False)
    pipeline.time()
    for bucket in range(keys.BUCKETS):
        pipeline.get(keys.generation(bucket))
    with translate_errors():
        (seconds, microseconds), *generations = await pipeline.execute()
    pipeline = redis.pipeline(transaction=False)
    for bucket, generation in enumerate(generations):
        pipeline.hget(keys.position(bucket, int(generation or 0)), FIELD)
    with translate_errors():
        reads = await pipeline.execute()
    return seconds * 1000 + microseconds // 1000, [decode_bucket_status(read) for read in reads]


async def _generation(redis: Redis, customer: Customer) -> int:
    with translate_errors():
        return int(await redis.get(keys.generation(keys.bucket_of(customer.id))) or 0)


def _seen(callers: Sequence[int], days: range, members: Sequence[set[bytes]]) -> dict[int, set[tuple[int, int]]]:
    sets = iter(members)
    return {caller: {(day, int(number)) for day in days for number in next(sets)} for caller in callers}
