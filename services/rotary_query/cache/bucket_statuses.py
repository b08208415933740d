"""What every bucket says of its facts, as last heard: how old they are, and whether they may be shown."""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from rotary.errors import UnavailableError
from rotary.redis.positions import BucketStatus
from rotary_query.cache.redis_clock import RedisClock

BACK_MS = 1_000
"""How much earlier a position may be than one heard before without having gone back: two logs' readers take turns."""


class Known(NamedTuple):
    """A bucket's status, and the latest `complete_ms` heard of since the bucket's entries were dropped."""

    bucket_status: BucketStatus
    latest_ms: int


class Mark(NamedTuple):
    """What was known of a bucket when Redis was asked about it, and by which generation it was asked."""

    generation: int
    known: Known | None


class BucketStatuses:
    """By bucket. `drop` is called with a bucket that is read by another generation, `lose` with one that went back.

    Statuses are kept only while it is open, that is, while every change is heard. Generations are always kept: a read
    of the wrong one learns the right one and repeats.
    """

    def __init__(self, clock: RedisClock, drop: Callable[[int], None], lose: Callable[[int], None]) -> None:
        self._clock = clock
        self._drop = drop
        self._lose = lose
        self._local = clock.local
        self._known: dict[int, Known] = {}
        self._ages: dict[int, tuple[float, int]] = {}  # until when, by the local clock, an age of a whole second holds
        self._generations: dict[int, int] = {}
        self._is_open = False

    def open(self) -> None:
        """From here on every change is heard."""
        self._forget()
        self._is_open = True

    def close(self) -> None:
        """Changes may be missed."""
        self._forget()
        self._is_open = False

    def mark(self, bucket: int) -> Mark:
        """To be taken before Redis is asked, and given to `read` with the answer."""
        return Mark(self._generations.get(bucket, 0), self._known.get(bucket))

    def age_ms(self, bucket: int) -> int | None:
        """How old the cached facts of a bucket are, exact to the whole second; None if nothing is known of it.

        Raises UnavailableError when they must not be shown.
        """
        # Asked for each request: the answer holds until the next whole second, or until anything is heard.
        age = self._ages.get(bucket)
        return age[1] if age is not None and self._local() < age[0] else self._age_ms(bucket)

    def _age_ms(self, bucket: int) -> int | None:
        known = self._known.get(bucket)
        if known is None:
            return None
        bucket_status, now_ms = known.bucket_status, self._clock.now_ms()
        if (why := bucket_status.refusal(now_ms)) is not None:
            raise UnavailableError(why)
        age_ms = bucket_status.age_ms(now_ms)
        # Milliseconds are cut off on the way: what is left of the second is one less, to be sure.
        self._ages[bucket] = self._local() + (999 - age_ms % 1000) / 1000, age_ms
        return age_ms

    def heard(self, bucket: int, bucket_status: BucketStatus) -> None:
        """The change channel says where a bucket stands."""
        self._ages.pop(bucket, None)
        known = self._known.get(bucket)
        if known is not None and _went_back(known, bucket_status):
            self._lose(bucket)
            known = None
        if self._is_open:
            latest_ms = bucket_status.complete_ms if known is None else max(known.latest_ms, bucket_status.complete_ms)
            self._known[bucket] = Known(bucket_status, latest_ms)

    def switched(self, bucket: int, generation: int) -> None:
        """Readers read another generation of a bucket from here on."""
        if self._generations.get(bucket, 0) != generation:
            self._generations[bucket] = generation
            self._known.pop(bucket, None)
            self._ages.pop(bucket, None)
            self._drop(bucket)

    def read(self, bucket: int, generation: int, bucket_status: BucketStatus, mark: Mark) -> bool:
        """Redis answered what was asked with `mark`; whether the generation was the right one.

        What is cached is as current as what was heard, never as what was asked: the changes before the answer may
        still be on their way, or their connection lost. So of a bucket that was heard of, the answer says no more than
        whether it went back.
        """
        now = self.mark(bucket)
        self._ages.pop(bucket, None)  # the clock was set by the same answer
        if generation != mark.generation:
            if now.generation == mark.generation:
                self.switched(bucket, generation)
            return False
        is_first = now.known is None and mark.known is None
        if is_first or (mark.known is not None and _went_back(mark.known, bucket_status)):
            self.heard(bucket, bucket_status)
        return True

    def oldest_ms(self) -> int | None:
        """The greatest age of any bucket that is known."""
        now_ms = self._clock.now_ms()
        return max((known.bucket_status.age_ms(now_ms) for known in self._known.values()), default=None)

    def refusals(self) -> Counter[str]:
        """How many of the buckets known must not be shown, by reason."""
        now_ms = self._clock.now_ms()
        reasons = (known.bucket_status.refusal(now_ms) for known in self._known.values())
        return Counter(reason for reason in reasons if reason is not None)

    def _forget(self) -> None:
        self._known.clear()
        self._ages.clear()


def _went_back(known: Known, bucket_status: BucketStatus) -> bool:
    begun_again = bucket_status.back_ms not in (0, known.bucket_status.back_ms)
    return begun_again or bucket_status.complete_ms < known.latest_ms - BACK_MS
