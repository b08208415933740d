"""Which event times are accepted. The limits follow the arrival at the broker, so a replay gives the same result."""

from typing import NamedTuple

from rotary.errors import EventRefusedError
from rotary.events import MAX_AHEAD_MS, Event, spec_of


class Arrived(NamedTuple):
    """The bounds of a message's arrival at the broker, UTC milliseconds: after the first, before the second."""

    after_ms: int
    before_ms: int


def window(kind: type[Event], arrived: Arrived) -> tuple[int, int]:
    """The earliest and the latest time, UTC milliseconds, that is accepted in an event of this type."""
    return arrived.after_ms - spec_of(kind).max_age_ms, arrived.before_ms + MAX_AHEAD_MS


def check_time(event: Event, at_ms: int, arrived: Arrived) -> None:
    """Raises EventRefusedError, code `out_of_window`, for an event time outside the window of its type."""
    earliest_ms, latest_ms = window(type(event), arrived)
    if at_ms > latest_ms:
        ahead_ms = at_ms - arrived.before_ms
        raise EventRefusedError(
            f"{ahead_ms // 1000} s ahead of its arrival; the limit is {MAX_AHEAD_MS // 1000} s", "out_of_window"
        )
    if at_ms < earliest_ms:
        behind_ms, limit_ms = arrived.after_ms - at_ms, arrived.after_ms - earliest_ms
        raise EventRefusedError(
            f"{behind_ms // 1000} s old on arrival; the limit is {limit_ms // 1000} s", "out_of_window"
        )
