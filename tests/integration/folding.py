"""Events folded straight into Redis, as a reader of a log does, and what is stored of them."""

from collections.abc import Iterable

from redis.asyncio import Redis

from rotary.clock import system_clock
from rotary.domain.facts import DAY_MS, QUARTERS_A_DAY, unpack_counts
from rotary.events import Event
from rotary.redis import keys
from rotary.redis.fold import Folded, Span, batches_of
from rotary.redis.fold import fold as fold_into
from rotary.redis.pipeline import Pipeline

NOW = system_clock()()  # the server expires by its own clock, so these events are of today
TODAY = NOW // DAY_MS
LOG = "calls.0"


class Folds:
    """A reader of a log in which every batch is one offset further."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.ends: dict[int, int | None] = {}

    async def __call__(self, customer: int, *events: Event, marker_ms: int = NOW) -> Folded:
        return (await self.all([(customer, event) for event in events] or [], marker_ms))[keys.bucket_of(customer)]

    async def all(self, events: Iterable[tuple[int, Event]], marker_ms: int = NOW) -> dict[int, Folded]:
        buckets: dict[int, list[tuple[int, Event]]] = {}
        for customer, event in events:
            buckets.setdefault(keys.bucket_of(customer), []).append((customer, event))
        spans = {}
        for bucket in buckets:
            begin = self.ends.get(bucket)
            self.ends[bucket] = (begin or 0) + 1
            spans[bucket] = Span(LOG, begin, (begin or 0) + 1, marker_ms, begin)
        batches = {bucket: batches_of(some) for bucket, some in buckets.items()}
        folded = await fold_into(self.pipeline, batches, spans, LOG)
        return {bucket: folded.get(bucket, Folded()) for bucket in buckets}


async def counters(redis: Redis, key: str) -> list[int]:
    value = await redis.get(key)
    if value is None:
        return [0] * QUARTERS_A_DAY
    assert isinstance(value, bytes)
    counts = unpack_counts(value)
    return [*counts, *[0] * (QUARTERS_A_DAY - len(counts))]
