"""The last known status of every bucket: the age of its facts, and whether readers may see them."""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from rotary.errors import UnavailableError
from rotary.redis.positions import BucketStatus
from rotary_query.cache.redis_clock import RedisClock

BACK_MS = 1_000
"""A position may be this much earlier than the last one without a loss, because the readers of two logs alternate."""


class Known(NamedTuple):
    """A bucket's status, and the latest `complete_ms` since the bucket's entries were dropped."""

    bucket_status: BucketStatus
    latest_ms: int


class Mark(NamedTuple):
    """The known status and the generation of a bucket at the time of a request to Redis."""

    generation: int
    known: Known | None


class BucketStatuses:
    """The statuses by bucket. It calls `drop` for a bucket with a new generation, and `lose` for one that went back.

    Statuses are kept only while it is open, that is, while every change is heard. Generations are always kept: a read
    with a wrong one returns the right one, and is repeated.
    """

    def __init__(self, clock: RedisClock, drop: Callable[[int], None], lose: Callable[[int], None]) -> None:
        self._clock = clock
        self._drop = drop
        self._lose = lose
        self._local = clock.local
        self._known: dict[int, Known] = {}
        self._ages: dict[int, tuple[float, int]] = {}  # (local time until which it holds, age)
        self._generations: dict[int, int] = {}
        self._is_open = False

    def open(self) -> None:
        """Starts keeping statuses. Call it once every change is heard."""
        self._forget()
        self._is_open = True

    def close(self) -> None:
        """Drops all statuses. Call it when changes may be missed."""
        self._forget()
        self._is_open = False

    def mark(self, bucket: int) -> Mark:
        """The mark to take before a request to Redis, and to pass to `read` with the answer."""
        return Mark(self._generations.get(bucket, 0), self._known.get(bucket))

    def age_ms(self, bucket: int) -> int | None:
        """The age of a bucket's cached facts, exact to the second; None if its status is unknown.

        Raises UnavailableError when they must not be shown.
        """
        # Every request calls this, so the age is kept until the next whole second, or until a change is heard.
        age = self._ages.get(bucket)
        return age[1] if age is not None and self._local() < age[0] else self._age_ms(bucket)

    def _age_ms(self, bucket: int) -> int | None:
        known = self._known.get(bucket)
        if known is None:
            return None
        bucket_status, now_ms = known.bucket_status, self._clock.now_ms()
        if (reason := bucket_status.refusal(now_ms)) is not None:
            raise UnavailableError(reason)
        age_ms = bucket_status.age_ms(now_ms)
        # `now_ms` and `age_ms` round down, so the rest of the second is one millisecond shorter, to be safe.
        self._ages[bucket] = self._local() + (999 - age_ms % 1000) / 1000, age_ms
        return age_ms

    def heard(self, bucket: int, bucket_status: BucketStatus) -> None:
        """Takes a bucket's status from the change channel."""
        self._ages.pop(bucket, None)
        known = self._known.get(bucket)
        if known is not None and _went_back(known, bucket_status):
            self._lose(bucket)
            known = None
        if self._is_open:
            latest_ms = bucket_status.complete_ms if known is None else max(known.latest_ms, bucket_status.complete_ms)
            self._known[bucket] = Known(bucket_status, latest_ms)

    def switched(self, bucket: int, generation: int) -> None:
        """Takes a bucket's new generation, and drops what was read from the old one."""
        if self._generations.get(bucket, 0) != generation:
            self._generations[bucket] = generation
            self._known.pop(bucket, None)
            self._ages.pop(bucket, None)
            self._drop(bucket)

    def read(self, bucket: int, generation: int, bucket_status: BucketStatus, mark: Mark) -> bool:
        """Takes the answer to a request with `mark`. Returns whether its generation was the right one.

        Cached entries are as current as the changes that were heard. An answer may be ahead of them: earlier changes
        may still be in transit, or their connection lost. For a bucket with a known status, the answer therefore shows
        only whether it went back.
        """
        now = self.mark(bucket)
        self._ages.pop(bucket, None)  # the same answer set the clock
        if generation != mark.generation:
            if now.generation == mark.generation:
                self.switched(bucket, generation)
            return False
        is_first = now.known is None and mark.known is None
        if is_first or (mark.known is not None and _went_back(mark.known, bucket_status)):
            self.heard(bucket, bucket_status)
        return True

    def oldest_ms(self) -> int | None:
        """The greatest age of all known buckets; None if none is known."""
        now_ms = self._clock.now_ms()
        return max((known.bucket_status.age_ms(now_ms) for known in self._known.values()), default=None)

    def refusals(self) -> Counter[str]:
        """The number of known buckets that must not be shown, by reason."""
        now_ms = self._clock.now_ms()
        reasons = (known.bucket_status.refusal(now_ms) for known in self._known.values())
        return Counter(reason for reason in reasons if reason is not None)

    def _forget(self) -> None:
        self._known.clear()
        self._ages.clear()


def _went_back(known: Known, bucket_status: BucketStatus) -> bool:
    has_new_loss = bucket_status.back_ms not in (0, known.bucket_status.back_ms)
    return has_new_loss or bucket_status.complete_ms < known.latest_ms - BACK_MS
