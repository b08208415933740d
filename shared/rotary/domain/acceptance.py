"""Which event times are believed, judged by when the event reached the broker, so that a replay judges alike."""

from typing import NamedTuple

from rotary.errors import EventRefusedError
from rotary.events import CallPlaced, Event

AHEAD_MS = 5 * 60_000
CALLS_BEHIND_MS = 48 * 3_600_000
FLAGS_BEHIND_MS = 30 * 86_400_000


class Arrived(NamedTuple):
    """When a message reached the broker, as far as is known: after one UTC millisecond and before another."""

    after_ms: int
    before_ms: int


def check_time(event: Event, at_ms: int, arrived: Arrived) -> None:
    """Refuses an event whose own time is outside its type's window around any moment it may have arrived at."""
    ahead_ms = at_ms - arrived.before_ms
    if ahead_ms > AHEAD_MS:
        raise _out_of_window(ahead_ms, "ahead of its arrival", AHEAD_MS)
    behind_ms = arrived.after_ms - at_ms
    if behind_ms <= CALLS_BEHIND_MS:
        return
    limit_ms = CALLS_BEHIND_MS if isinstance(event, CallPlaced) else FLAGS_BEHIND_MS
    if behind_ms > limit_ms:
        raise _out_of_window(behind_ms, "old on arrival", limit_ms)


def _out_of_window(by_ms: int, how: str, limit_ms: int) -> EventRefusedError:
    return EventRefusedError(f"out_of_window: {by_ms // 1000} s {how}, at most {limit_ms // 1000} s pass")
