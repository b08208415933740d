"""Reads the wall clock. All other code takes the time as an argument."""

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Returns milliseconds since 1970-01-01T00:00:00Z."""


def system_clock(offset_seconds: float = 0) -> Clock:
    """The machine's clock, shifted by `offset_seconds`, so that a rehearsal can run just before midnight."""
    offset_ns = round(offset_seconds * 1e9)

    def now_ms() -> int:
        return (time.time_ns() + offset_ns) // 1_000_000

    return now_ms
