"""A sliding window of 60 seconds in this process. It counts the unknown tokens that an address tried."""

from collections import deque

WINDOW_MS = 60_000
_SLOT_MS = 100


class SlidingWindow:
    """At most `limit` hits in any 60 seconds.

    Hits within 0.1 s share a slot, which leaves the window with the last of them. The limit is never exceeded, a hit
    leaves at most 0.1 s late, and a window holds at most 600 slots for any limit. (Libraries keep an entry for each
    hit, or weigh two fixed windows, which is inexact.)
    """

    __slots__ = ("_slots", "limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._slots: deque[list[int]] = deque()  # [first, last, hits]

    def hit(self, now_ms: int) -> bool:
        """Counts a hit and returns True. Returns False if the hit would exceed the limit."""
        if self.is_full(now_ms):
            return False
        slots = self._slots
        self.used += 1
        if slots and now_ms - slots[-1][0] < _SLOT_MS:
            slot = slots[-1]
            slot[1] = now_ms
            slot[2] += 1
        else:
            slots.append([now_ms, now_ms, 1])
        return True

    def is_full(self, now_ms: int) -> bool:
        """Whether a hit now would exceed the limit."""
        slots = self._slots
        while slots and slots[0][1] <= now_ms - WINDOW_MS:
            self.used -= slots.popleft()[2]
        return self.used >= self.limit

    def frees_at_ms(self, now_ms: int) -> int:
        """When the oldest hits leave the window, in milliseconds of the clock; `now_ms` without hits."""
        return self._slots[0][1] + WINDOW_MS if self._slots else now_ms

    def retry_after(self, now_ms: int) -> int:
        """Whole seconds, at least 1, after which a hit is allowed again."""
        return max(1, -((now_ms - self.frees_at_ms(now_ms)) // 1000))
