"""The days of history: each moment is in one, each is rolled up soon after its end, and one day it is final."""

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from histories import DAY, HOUR, NOW, utc
from rotary.domain.facts import QUARTER_MS
from rotary.domain.history import (
    HISTORY_DAYS,
    MARGIN_MS,
    SWEEPS_MS,
    Day,
    day_of,
    days_to_add,
    due_ms,
    is_over,
    utc_days,
)
from rotary.domain.quota import local_date
from rotary.events import LogKind

ZONES = ("Asia/Ho_Chi_Minh", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns", "UTC")


@pytest.mark.parametrize("zone", ZONES)
@given(at_ms=st.integers(utc("2024-01-01T00:00:00Z"), utc("2027-12-31T00:00:00Z")))
@settings(max_examples=60, deadline=None)
def test_every_moment_is_in_the_day_of_its_local_date(zone: str, at_ms: int) -> None:
    day = day_of(zone, local_date(zone, at_ms))
    assert day.begin_ms <= at_ms < day.end_ms
    assert day_of(zone, day.date + timedelta(days=1)).begin_ms == day.end_ms
    assert day.begin_ms % QUARTER_MS == day.end_ms % QUARTER_MS == 0


@pytest.mark.parametrize(
    ("zone", "of", "hours"),
    [
        ("Asia/Ho_Chi_Minh", "2026-06-05", 24),
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("Australia/Lord_Howe", "2026-10-04", 23.5),
        ("America/Santiago", "2026-09-06", 23),  # the clock skips midnight
        ("America/Havana", "2026-11-01", 25),  # and here repeats it
        ("Pacific/Apia", "2011-12-30", 0),  # a date that was skipped
    ],
)
def test_a_day_is_as_long_as_its_clock_says(zone: str, of: str, hours: float) -> None:
    day = day_of(zone, date.fromisoformat(of))
    assert day.end_ms - day.begin_ms == hours * HOUR


def test_yesterday_is_the_last_day_on_record() -> None:
    added = days_to_add(None, "Asia/Kolkata", utc("2026-06-06T18:29:59Z"), 0)
    assert added[-1].date == date(2026, 6, 5)  # half an hour to midnight, by half an hour
    assert len(added) == HISTORY_DAYS
    assert days_to_add(added[-1], "Asia/Kolkata", utc("2026-06-06T18:29:59Z"), 0) == []
    [next_day] = days_to_add(added[-1], "Asia/Kolkata", utc("2026-06-06T18:30:00Z"), 0)
    assert (next_day.date, next_day.end_ms) == (date(2026, 6, 6), utc("2026-06-06T18:30:00Z"))


def test_history_begins_with_the_first_day_of_which_all_calls_are_known() -> None:
    since = day_of("UTC", date(2026, 6, 3)).begin_ms
    assert [day.date.day for day in days_to_add(None, "UTC", NOW, since)] == [3, 4, 5]
    assert [day.date.day for day in days_to_add(None, "UTC", NOW, since + 1)] == [4, 5]


def test_days_missed_by_a_roll_up_that_was_down_are_all_added() -> None:
    last = day_of("UTC", date(2026, 5, 20))
    assert [day.date for day in days_to_add(last, "UTC", NOW, NOW)] == [
        date(2026, 5, 21) + timedelta(days=number) for number in range(16)
    ]
    assert len(days_to_add(day_of("UTC", date(2026, 1, 1)), "UTC", NOW, NOW)) == HISTORY_DAYS


@given(
    before=st.sampled_from((*ZONES, "Pacific/Kiritimati", "Pacific/Pago_Pago")),
    after=st.sampled_from((*ZONES, "Pacific/Kiritimati", "Pacific/Pago_Pago")),
    hours=st.integers(0, 72),
)
@settings(deadline=None)
def test_no_call_is_in_two_days_or_in_none_after_the_zone_changed(before: str, after: str, hours: int) -> None:
    changed_ms = NOW + hours * HOUR
    days = days_to_add(None, before, changed_ms, NOW - 5 * DAY)
    days += days_to_add(days[-1], after, changed_ms + 4 * DAY, 0)
    for earlier, later in pairwise(days):
        assert earlier.end_ms == later.begin_ms <= later.end_ms
        assert later.date - earlier.date == timedelta(days=1)
    assert days[-1].end_ms == day_of(after, days[-1].date).end_ms


def test_a_customer_is_due_soon_after_its_midnight_and_once_more() -> None:
    midnight = utc("2026-06-05T18:30:00Z")
    first, second = (midnight + after for after in SWEEPS_MS)
    for now_ms, expected in ((first - 1, second - DAY), (first, first), (second - 1, first), (second + HOUR, second)):
        assert due_ms("Asia/Kolkata", now_ms) == expected


def test_a_day_touches_the_utc_days_from_its_first_to_its_last_quarter_hour() -> None:
    begin_ms = utc("2026-06-05T00:00:00Z")
    first = begin_ms // DAY

    def touched(begin: int, end: int) -> list[int]:
        return [utc_day - first for utc_day in utc_days([Day(date(2026, 6, 5), begin_ms + begin, begin_ms + end)])]

    assert touched(0, DAY) == [0]
    assert touched(0, DAY + QUARTER_MS) == [0, 1]
    assert touched(DAY - QUARTER_MS, 2 * DAY) == [0, 1]
    assert touched(-QUARTER_MS, DAY) == [-1, 0]
    assert touched(0, 0) == []


def test_utc_days_of_days_in_a_row_are_each_told_once() -> None:
    days = [day_of("Asia/Kolkata", date(2026, 6, number)) for number in (6, 5)]
    first = utc("2026-06-04T00:00:00Z") // DAY
    assert utc_days(days) == [first, first + 1, first + 2]


@pytest.mark.parametrize(("kind", "hours"), [("calls", 48), ("flags", 720)])
def test_a_day_is_over_when_no_event_can_change_it(kind: LogKind, hours: int) -> None:
    day = day_of("Asia/Ho_Chi_Minh", date(2026, 6, 5))
    over_ms = day.end_ms + hours * HOUR + MARGIN_MS
    assert not is_over(day, kind, over_ms - 1)
    assert is_over(day, kind, over_ms)


@pytest.mark.parametrize("zone", ["Europe/London", "Asia/Ho_Chi_Minh", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
@given(st.integers(0, 730))
@example(297)  # London's day of 25 hours in 2026
@settings(max_examples=40, deadline=None)
def test_counters_outlive_the_last_correction_by_the_three_days_of_the_logs(zone: str, number: int) -> None:
    day = day_of(zone, date(2026, 1, 1) + timedelta(days=number))
    first_utc_day = utc_days([day])[0]
    kept_until_ms = (first_utc_day + 1 + 7) * DAY
    assert kept_until_ms - (day.end_ms + 48 * HOUR + MARGIN_MS) >= 3 * DAY
