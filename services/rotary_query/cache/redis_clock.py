"""Redis' clock, as this process estimates it: how old facts are is never told by the clock of this host."""

import time
from collections.abc import Callable

LocalClock = Callable[[], float]
"""Seconds since any moment, by a clock that nobody sets."""


class RedisClock:
    """The offset between Redis' clock and a local one, taken from what Redis says of the time.

    What Redis said it said at some moment between our question and our hearing of it. So each answer bounds the offset
    on both sides, and each message, whose way here is not known, on one. The clock follows Redis' own wherever that is
    set, within one answer.
    """

    def __init__(self, local: LocalClock = time.monotonic) -> None:
        self.local = local
        self._offset_ms: int | None = None

    def local_ms(self) -> int:
        """The local clock in milliseconds."""
        return int(self.local() * 1000)

    def now_ms(self) -> int:
        """Milliseconds since 1970 by Redis' clock; 0 while Redis never said."""
        return 0 if self._offset_ms is None else self.local_ms() + self._offset_ms

    def answered(self, redis_ms: int, asked_ms: int) -> None:
        """Redis answered `redis_ms` to what was asked at `asked_ms` by the local clock."""
        earliest, latest = redis_ms - self.local_ms(), redis_ms - asked_ms
        known = latest if self._offset_ms is None else self._offset_ms
        self._offset_ms = min(max(known, earliest), latest)

    def heard(self, redis_ms: int) -> None:
        """A message that was sent at `redis_ms` arrived."""
        earliest = redis_ms - self.local_ms()
        if self._offset_ms is None or earliest > self._offset_ms:
            self._offset_ms = earliest
