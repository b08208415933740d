"""Reads the facts of a customer's past days, with the word on how far they may be believed.

Facts, the bucket's position and the clock are read in one step. Readers of history wait unless the facts are current:
what a fold has not reached yet would look like something that never happened.
"""

from collections.abc import Mapping, Sequence
from typing import cast

from msgspec import Struct
from redis.asyncio import Redis

from rotary.domain.facts import DAY_MS
from rotary.domain.history import MARGIN_MS, Coverage, PastFacts
from rotary.redis import keys
from rotary.redis.connection import translate_errors
from rotary.redis.facts import COUNTERS_KEPT_DAYS, FLAGS_KEPT_DAYS, decode_past_flags, fact_keys
from rotary.redis.observation import NotCurrentError
from rotary.redis.positions import CURRENT_MS, FIELD, decode_bucket_status

NO_PAST = PastFacts({})


class Past(Struct, frozen=True):
    """Facts of some caller IDs as of `as_of_ms`, by Redis' clock, which is `now_ms` by the customers' clock.

    `flag_versions` are the versions of the flags of those whose flags changed lately, microseconds.
    """

    facts: Mapping[int, PastFacts]
    flag_versions: Mapping[int, int]
    coverage: Coverage
    as_of_ms: int
    now_ms: int


class PastReader:
    """Reads the past. `clock_offset_ms` is by how much the customers' clock is ahead of Redis', in a rehearsal.

    Every method raises UnavailableError, and NotCurrentError, which is one, when the facts may not be believed.
    """

    def __init__(self, client: Redis, clock_offset_ms: int = 0) -> None:
        self._client = client
        self._offset_ms = clock_offset_ms

    async def now_ms(self) -> int:
        """The customers' clock."""
        with translate_errors():
            seconds, microseconds = await self._client.time()
        return int(seconds) * 1000 + int(microseconds) // 1000 + self._offset_ms

    async def read(self, customer: int, callers: Sequence[int] = (), days: Sequence[int] = ()) -> Past:
        """The facts of these caller IDs: their flags, and their calls on these UTC days."""
        bucket = keys.bucket_of(customer)
        with translate_errors():
            generation = int(await self._client.get(keys.generation(bucket)) or 0)
            async with self._client.pipeline(transaction=True) as pipeline:
                pipeline.hgetall(keys.position(bucket, generation))
                pipeline.get(keys.generation(bucket))
                pipeline.time()
                if callers:
                    pipeline.mget(fact_keys(customer, callers, days, generation))
                    pipeline.zmscore(keys.flagged(customer, generation), list(map(str, callers)))
                position, current, time, *values = await pipeline.execute()
        as_of_ms = int(time[0]) * 1000 + int(time[1]) // 1000
        if int(current or 0) != generation:
            raise NotCurrentError("The projections were rebuilt just now")
        _check(position, as_of_ms)
        found, versions = values or ([], [])
        return Past(
            _decode(callers, days, cast("list[bytes | None]", found)),
            {caller: int(version) for caller, version in zip(callers, versions, strict=True) if version is not None},
            coverage(position, as_of_ms, self._offset_ms),
            as_of_ms,
            as_of_ms + self._offset_ms,
        )


def _check(position: Mapping[bytes, bytes], now_ms: int) -> None:
    status = decode_bucket_status(position.get(FIELD.encode()))
    if reason := status.refusal(now_ms):
        raise NotCurrentError(reason)
    if status.age_ms(now_ms) > CURRENT_MS:
        raise NotCurrentError("The facts are behind the log")


def coverage(position: Mapping[bytes, bytes], now_ms: int, offset_ms: int = 0) -> Coverage:
    """Since when all events are in the facts, from a bucket's position at a time of Redis' clock.

    The later of: since when the logs had them when they were read, and since when what was folded is still kept. Raises
    NotCurrentError if that is not on record yet.
    """
    since_ms = {"calls": 0, "flags": 0}
    for name in position.get(b"logs", b"").split(b","):
        stored = position.get(name + b"^")
        if stored is None:
            raise NotCurrentError("It is not known since when the facts are complete")
        kind = name.decode().partition(".")[0]
        since_ms[kind] = max(since_ms[kind], int(stored))
    calls_ms, flags_ms = (at_ms and at_ms + offset_ms + MARGIN_MS for at_ms in since_ms.values())
    kept_day = now_ms // DAY_MS - COUNTERS_KEPT_DAYS
    kept_flags_ms = now_ms + offset_ms - FLAGS_KEPT_DAYS * DAY_MS + MARGIN_MS
    return Coverage(max(calls_ms, kept_day * DAY_MS), max(flags_ms, kept_flags_ms))


def _decode(callers: Sequence[int], days: Sequence[int], values: Sequence[bytes | None]) -> dict[int, PastFacts]:
    width = 1 + len(days)
    assert len(values) == width * len(callers)
    facts = {}
    for at, caller in enumerate(callers):
        flags, *counters = values[at * width : (at + 1) * width]
        calls = {day: value for day, value in zip(days, counters, strict=True) if value}
        if flags is not None:
            facts[caller] = PastFacts(calls, *decode_past_flags(flags))
        else:
            facts[caller] = PastFacts(calls) if calls else NO_PAST
    return facts
