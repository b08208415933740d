"""Which event times are believed, judged by when the event reached the broker, so that a replay judges alike."""

from typing import NamedTuple

from rotary.errors import EventRefusedError
from rotary.events import MAX_AHEAD_MS, Event, spec_of


class Arrived(NamedTuple):
    """When a message reached the broker, as far as is known: after one UTC millisecond and before another."""

    after_ms: int
    before_ms: int


def window(kind: type[Event], arrived: Arrived) -> tuple[int, int]:
    """The earliest and the latest time, UTC milliseconds, that an event of this type may carry."""
    return arrived.after_ms - spec_of(kind).max_age_ms, arrived.before_ms + MAX_AHEAD_MS


def check_time(event: Event, at_ms: int, arrived: Arrived) -> None:
    """Refuses an event whose own time is outside its type's window around any moment it may have arrived at."""
    earliest_ms, latest_ms = window(type(event), arrived)
    if at_ms > latest_ms:
        ahead_ms = at_ms - arrived.before_ms
        raise EventRefusedError(
            f"out_of_window: {ahead_ms // 1000} s ahead of its arrival, at most {MAX_AHEAD_MS // 1000} s pass"
        )
    if at_ms < earliest_ms:
        behind_ms, limit_ms = arrived.after_ms - at_ms, arrived.after_ms - earliest_ms
        raise EventRefusedError(
            f"out_of_window: {behind_ms // 1000} s old on arrival, at most {limit_ms // 1000} s pass"
        )
