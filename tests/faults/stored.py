"""What Redis holds about every caller ID: counters and flags as a reader sees them, and the identities counted."""

from collections.abc import Mapping, Sequence

from msgspec import Struct
from redis.asyncio import Redis

from faults.definitions import Customer
from rotary.domain.facts import DAY_MS, Tally
from rotary.redis import keys
from rotary.redis.connection import redis_answers
from rotary.redis.facts import decode_facts, fact_keys


class Stored(Struct, frozen=True):
    """One customer's facts by caller ID; `seen` are (UTC day, identity of a call)."""

    tallies: dict[int, Tally]
    seen: dict[int, set[tuple[int, int]]]


def days_around(now_ms: int) -> range:
    """The UTC days that accepted calls can be of, with one to spare at the far end."""
    return range(now_ms // DAY_MS - 3, now_ms // DAY_MS + 2)


async def read_tallies(redis: Redis, customer: Customer, now_ms: int) -> Mapping[int, Tally]:
    """Every caller ID's counters and flags. Raises UnavailableError."""
    days = days_around(now_ms)
    with redis_answers():
        values: list[bytes | None] = await redis.mget(fact_keys(customer.id, customer.callers, days))  # type: ignore[assignment]  # replies are bytes
    return decode_facts(customer.callers, days, values)


async def read(redis: Redis, customer: Customer, now_ms: int) -> Stored:
    """Everything, all of it at one moment. Raises UnavailableError."""
    days = days_around(now_ms)
    pipeline = redis.pipeline(transaction=True)
    pipeline.mget(fact_keys(customer.id, customer.callers, days))
    for caller in customer.callers:
        for day in days:
            pipeline.smembers(keys.seen(customer.id, caller, day))
    with redis_answers():
        values, *members = await pipeline.execute()
    return Stored(decode_facts(customer.callers, days, values), _seen(customer.callers, days, members))


def _seen(callers: Sequence[int], days: range, members: Sequence[set[bytes]]) -> dict[int, set[tuple[int, int]]]:
    sets = iter(members)
    return {caller: {(day, int(number)) for day in days for number in next(sets)} for caller in callers}
