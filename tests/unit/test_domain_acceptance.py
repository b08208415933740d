"""Which event times are believed: judged by arrival, so that a replay days later judges as the first fold did."""

import pytest

from histories import DAY, HOUR, MINUTE, NOW, SECOND, cleared, flagged, placed
from rotary.domain.acceptance import Arrived, check_time
from rotary.domain.facts import event_ms
from rotary.errors import EventRefusedError
from rotary.events import Event

NOW_EXACTLY = Arrived(NOW, NOW)

WINDOWS: list[tuple[Event, int, int]] = [
    (placed("1"), 48 * HOUR, 5 * MINUTE),
    (flagged("1", "blocked"), 30 * DAY, 5 * MINUTE),
    (cleared("1"), 30 * DAY, 5 * MINUTE),
]


@pytest.mark.parametrize(("event", "behind", "ahead"), WINDOWS, ids=["call", "flag", "clear"])
def test_the_windows_are_exact_to_the_millisecond(event: Event, behind: int, ahead: int) -> None:
    for believed in (NOW - behind, NOW, NOW + ahead):
        check_time(event, believed, NOW_EXACTLY)
    for refused in (NOW - behind - 1, NOW + ahead + 1):
        with pytest.raises(EventRefusedError):
            check_time(event, refused, NOW_EXACTLY)


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (placed("1", NOW - 49 * HOUR), "out_of_window: 176400 s old on arrival; the limit is 172800 s"),
        (placed("1", NOW + HOUR), "out_of_window: 3600 s ahead of its arrival; the limit is 300 s"),
        (flagged("1", "blocked", NOW - 31 * DAY), "out_of_window: 2678400 s old on arrival; the limit is 2592000 s"),
        (cleared("1", NOW + 301 * SECOND), "out_of_window: 301 s ahead of its arrival; the limit is 300 s"),
    ],
)
def test_the_reason_says_by_how_much(event: Event, reason: str) -> None:
    with pytest.raises(EventRefusedError) as refused:
        check_time(event, event_ms(event), NOW_EXACTLY)
    assert refused.value.reason == reason


def test_where_the_arrival_is_not_known_exactly_any_moment_it_may_have_been_will_do() -> None:
    hours = Arrived(NOW - 10 * HOUR, NOW)
    check_time(placed("1"), NOW + 5 * MINUTE, hours)
    check_time(placed("1"), NOW - 58 * HOUR, hours)
    with pytest.raises(EventRefusedError):
        check_time(placed("1"), NOW - 58 * HOUR - 1, hours)
