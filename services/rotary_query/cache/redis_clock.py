"""Estimates Redis' clock. The age of facts never depends on the clock of this host."""

import time
from collections.abc import Callable

LocalClock = Callable[[], float]
"""Returns seconds since any moment. The clock must be monotonic."""


class RedisClock:
    """The offset between Redis' clock and a local one, from the times that Redis reports.

    Redis read its clock between our request and the arrival of the answer, so an answer bounds the offset on both
    sides. A message has no request and bounds it on one side. If Redis' clock is set, this clock follows at the next
    answer.
    """

    def __init__(self, local: LocalClock = time.monotonic) -> None:
        self.local = local
        self._offset_ms: int | None = None

    def local_ms(self) -> int:
        """The local clock in milliseconds."""
        return int(self.local() * 1000)

    def now_ms(self) -> int:
        """Milliseconds since 1970 by Redis' clock; 0 before the first answer."""
        return 0 if self._offset_ms is None else self.local_ms() + self._offset_ms

    def answered(self, redis_ms: int, asked_ms: int) -> None:
        """Takes the answer `redis_ms` to a request that was sent at `asked_ms` by the local clock."""
        earliest, latest = redis_ms - self.local_ms(), redis_ms - asked_ms
        known = latest if self._offset_ms is None else self._offset_ms
        self._offset_ms = min(max(known, earliest), latest)

    def heard(self, redis_ms: int) -> None:
        """Takes the time `redis_ms` of a message that has just arrived."""
        earliest = redis_ms - self.local_ms()
        if self._offset_ms is None or earliest > self._offset_ms:
            self._offset_ms = earliest
