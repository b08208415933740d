"""Quota: calls in the customer's own calendar day, exact to the second in every zone in civil use."""

from datetime import date, datetime
from functools import cache
from itertools import groupby
from random import Random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histories import DAY, HOUR, MINUTE, facts_about, monitored, placed, utc
from rotary.domain.facts import QUARTER_MS, CallerFacts, DayCounts, pack_counts
from rotary.domain.quota import days_read, today

# Whole, half and three-quarter hours, both ends of the date line, clock changes at midnight (Cairo, Havana, Beirut), at
# the end of a day (Santiago, Nuuk), of half an hour (Lord Howe), of two hours (Troll), backwards (Dublin, Casablanca).
ZONES = (
    "UTC",
    "Asia/Ho_Chi_Minh",
    "Asia/Bangkok",
    "Asia/Tokyo",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Kabul",
    "Asia/Tehran",
    "Asia/Yangon",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Almaty",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Africa/Lagos",
    "America/New_York",
    "America/Los_Angeles",
    "America/St_Johns",
    "America/Havana",
    "America/Santiago",
    "America/Asuncion",
    "America/Nuuk",
    "America/Scoresbysund",
    "Antarctica/Troll",
    "Atlantic/Azores",
    "Australia/Adelaide",
    "Australia/Eucla",
    "Australia/Lord_Howe",
    "Europe/Dublin",
    "Europe/London",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
    "Pacific/Marquesas",
    "Pacific/Pago_Pago",
)
FIRST, LAST = utc("2024-01-01T00:00:00Z"), utc("2028-01-01T00:00:00Z")


def local(zone: str, at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms // 1000, ZoneInfo(zone))


@cache
def clock_changes(zone: str) -> tuple[int, ...]:
    """The UTC days, as ms of their midnight, before whose end the zone's offset is another than at their start."""
    return tuple(
        day for day in range(FIRST, LAST, DAY) if local(zone, day).utcoffset() != local(zone, day + DAY).utcoffset()
    )


def calls_today(counts: DayCounts, zone: str, now_ms: int) -> int:
    return monitored(CallerFacts(counts), now_ms, zone).calls_today


def caller_facts(times: list[int]) -> CallerFacts:
    return facts_about([placed(str(number), at) for number, at in enumerate(times)]).caller_facts()


@st.composite
def calling(draw: st.DrawFn) -> tuple[str, int, list[int]]:
    """A zone, a now in 2024 to 2027, and calls of the 48 hours before it, many near midnights and clock changes."""
    zone = draw(st.sampled_from(ZONES))
    changes = clock_changes(zone)
    near_change = st.sampled_from(changes or (FIRST + 59 * DAY,)).flatmap(lambda d: st.integers(d - DAY, d + 2 * DAY))
    now_ms = draw(st.integers(FIRST + 2 * DAY, LAST) | near_change)
    midnight = local(zone, now_ms).replace(hour=0, minute=0, second=0)
    random = Random(draw(st.integers(0, 2**32)))
    edges = [int(midnight.timestamp()) * 1000 + shift for shift in (-DAY, -HOUR, -1, 0, 1, HOUR)]
    edges += [now_ms - 2 * DAY, now_ms - DAY, now_ms, now_ms + 5 * MINUTE]
    spread = [random.randint(now_ms - 2 * DAY, now_ms + 5 * MINUTE) for _ in range(20)]
    return zone, now_ms, [at for at in edges + spread if now_ms - 2 * DAY <= at <= now_ms + 5 * MINUTE]


@settings(max_examples=200, deadline=None)
@given(calling())
def test_quarter_hours_count_what_the_local_date_of_each_event_says(example: tuple[str, int, list[int]]) -> None:
    zone, now_ms, times = example
    counts = caller_facts(times).calls
    expected = sum(local(zone, at).date() == local(zone, now_ms).date() for at in times)
    assert calls_today(counts, zone, now_ms) == expected
    read = {day: counts[day] for day in days_read(now_ms) if day in counts}
    assert calls_today(read, zone, now_ms) == expected, "the days that a reader fetches are enough"


@pytest.mark.parametrize("zone", ZONES)
def test_every_day_with_a_clock_change_holds_exactly_the_quarter_hours_of_its_date(zone: str) -> None:
    for change in clock_changes(zone) or (utc("2024-02-29T00:00:00Z"),):
        around = range((change - 2 * DAY) // QUARTER_MS, (change + 3 * DAY) // QUARTER_MS)
        days = [list(quarters) for _, quarters in groupby(around, lambda quarter: local_date(zone, quarter))]
        for quarters in days[1:-1]:  # those at the ends are cut off
            assert {today(zone, quarter) for quarter in quarters} == {(quarters[0], quarters[-1] + 1)}
            read = days_read(quarters[-1] * QUARTER_MS)
            assert quarters[0] * QUARTER_MS // DAY in read


def local_date(zone: str, quarter: int) -> date:
    return local(zone, quarter * QUARTER_MS).date()


# A call, a moment at which somebody looks, and whether the call is of that day.
EDGES = [
    # Midnight to the second, east of UTC.
    ("Asia/Ho_Chi_Minh", "2026-06-05T23:59:59.999+07:00", "2026-06-05T23:59:59.999+07:00", True),
    ("Asia/Ho_Chi_Minh", "2026-06-05T23:59:59.999+07:00", "2026-06-06T00:00:00+07:00", False),
    ("Asia/Ho_Chi_Minh", "2026-06-06T00:00:00+07:00", "2026-06-06T00:00:00+07:00", True),
    ("Asia/Ho_Chi_Minh", "2026-06-06T00:00:00+07:00", "2026-06-06T23:59:59+07:00", True),
    ("Asia/Ho_Chi_Minh", "2026-06-06T00:00:00+07:00", "2026-06-07T00:00:00+07:00", False),
    # A clock five minutes ahead: tomorrow's call does not count today, and does tomorrow.
    ("Asia/Ho_Chi_Minh", "2026-06-07T00:02:00+07:00", "2026-06-06T23:58:00+07:00", False),
    ("Asia/Ho_Chi_Minh", "2026-06-07T00:02:00+07:00", "2026-06-07T00:00:00+07:00", True),
    ("Asia/Ho_Chi_Minh", "2026-06-06T12:04:00+07:00", "2026-06-06T12:00:00+07:00", True),
    # West of UTC, where the UTC date changes in the afternoon.
    ("America/Los_Angeles", "2026-06-05T16:59:00-07:00", "2026-06-05T17:01:00-07:00", True),
    ("America/Los_Angeles", "2026-06-05T23:59:59-07:00", "2026-06-06T00:00:00-07:00", False),
    ("Pacific/Pago_Pago", "2026-06-05T00:00:00-11:00", "2026-06-05T23:59:59-11:00", True),
    ("Pacific/Pago_Pago", "2026-06-04T23:59:59-11:00", "2026-06-05T00:00:00-11:00", False),
    # Fourteen hours east: the day begins at 10:00 UTC of the day before.
    ("Pacific/Kiritimati", "2026-06-06T00:00:00+14:00", "2026-06-06T23:59:59+14:00", True),
    ("Pacific/Kiritimati", "2026-06-05T23:59:59+14:00", "2026-06-06T00:00:00+14:00", False),
    # Half and three quarters of an hour.
    ("Asia/Kolkata", "2026-06-05T23:59:59+05:30", "2026-06-06T00:00:00+05:30", False),
    ("Asia/Kolkata", "2026-06-06T00:00:00+05:30", "2026-06-06T23:59:59+05:30", True),
    ("Asia/Kathmandu", "2026-06-05T23:59:59+05:45", "2026-06-06T00:00:00+05:45", False),
    ("Asia/Kathmandu", "2026-06-06T00:00:00+05:45", "2026-06-06T23:59:59+05:45", True),
    ("Pacific/Chatham", "2026-06-06T00:00:00+12:45", "2026-06-06T23:59:59+12:45", True),
    # A leap day is a day of its own.
    ("Asia/Ho_Chi_Minh", "2024-02-29T00:00:00+07:00", "2024-02-29T23:59:59+07:00", True),
    ("Asia/Ho_Chi_Minh", "2024-02-28T23:59:59+07:00", "2024-02-29T00:00:00+07:00", False),
    ("Asia/Ho_Chi_Minh", "2024-02-29T23:59:59+07:00", "2024-03-01T00:00:00+07:00", False),
    # New York loses an hour on 10 March 2024, and gains one on 3 November.
    ("America/New_York", "2024-03-10T00:00:00-05:00", "2024-03-10T23:59:59-04:00", True),
    ("America/New_York", "2024-03-09T23:59:59-05:00", "2024-03-10T00:00:00-05:00", False),
    ("America/New_York", "2024-03-10T23:59:59-04:00", "2024-03-11T00:00:00-04:00", False),
    ("America/New_York", "2024-11-03T00:00:00-04:00", "2024-11-03T23:59:59-05:00", True),
    ("America/New_York", "2024-11-02T23:59:59-04:00", "2024-11-03T23:59:59-05:00", False),
    ("America/New_York", "2024-11-03T23:59:59-05:00", "2024-11-04T00:00:00-05:00", False),
    # Lord Howe Island changes by half an hour.
    ("Australia/Lord_Howe", "2024-04-07T00:00:00+11:00", "2024-04-07T23:59:59+10:30", True),
    ("Australia/Lord_Howe", "2024-04-06T23:59:59+11:00", "2024-04-07T23:59:59+10:30", False),
    ("Australia/Lord_Howe", "2024-10-06T00:00:00+10:30", "2024-10-06T23:59:59+11:00", True),
    ("Australia/Lord_Howe", "2024-10-06T23:59:59+11:00", "2024-10-07T00:00:00+11:00", False),
    # Cairo has no midnight on 26 April 2024: 23:59:59 is followed by 01:00.
    ("Africa/Cairo", "2024-04-25T23:59:59+02:00", "2024-04-26T01:00:00+03:00", False),
    ("Africa/Cairo", "2024-04-26T01:00:00+03:00", "2024-04-26T23:59:59+03:00", True),
    # Havana has two on 3 November 2024, and the hour between belongs to the new day.
    ("America/Havana", "2024-11-03T00:00:00-04:00", "2024-11-03T00:00:00-05:00", True),
    ("America/Havana", "2024-11-02T23:59:59-04:00", "2024-11-03T00:00:00-04:00", False),
]


@pytest.mark.parametrize(("zone", "call", "now", "counts"), EDGES)
def test_a_call_is_of_the_customers_calendar_day(zone: str, call: str, now: str, counts: bool) -> None:
    assert calls_today(caller_facts([utc(call)]).calls, zone, utc(now)) == int(counts)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Asia/Ho_Chi_Minh", "2026-06-06T12:00:00+07:00", 24),
        ("America/New_York", "2024-03-10T12:00:00-04:00", 23),
        ("America/New_York", "2024-11-03T12:00:00-05:00", 25),
        ("Australia/Lord_Howe", "2024-04-07T12:00:00+10:30", 24.5),
        ("Australia/Lord_Howe", "2024-10-06T12:00:00+11:00", 23.5),
        ("Africa/Cairo", "2024-04-26T12:00:00+03:00", 23),
        ("America/Havana", "2024-11-03T12:00:00-05:00", 25),
    ],
)
def test_a_day_is_as_long_as_its_clocks_make_it(zone: str, day: str, hours: float) -> None:
    begin, end = today(zone, utc(day) // QUARTER_MS)
    assert (end - begin) * QUARTER_MS == hours * HOUR


def test_moving_a_customer_to_another_zone_needs_no_migration() -> None:
    counts = caller_facts([utc("2026-06-06T16:30:00Z"), utc("2026-06-06T17:30:00Z")]).calls
    now_ms = utc("2026-06-06T18:00:00Z")
    assert [calls_today(counts, zone, now_ms) for zone in ("UTC", "Asia/Ho_Chi_Minh", "Asia/Tokyo")] == [2, 1, 2]


def test_counters_may_lack_the_zeros_at_their_end_and_days_without_calls() -> None:
    day = utc("2026-06-06T00:00:00Z")
    counts = {day // DAY - 1: pack_counts([5]), day // DAY: pack_counts([1, 2])}
    assert calls_today(counts, "UTC", day) == 3
    assert calls_today(counts, "UTC", day - 1) == 5
    assert calls_today(counts, "UTC", day + DAY) == 0
    assert calls_today({}, "UTC", day) == 0


def test_the_days_read_reach_from_yesterday_to_tomorrow() -> None:
    midnight = utc("2026-06-06T00:00:00Z")
    assert list(days_read(midnight)) == [midnight // DAY + shift for shift in (-1, 0, 1)]
    assert days_read(midnight - 1) == days_read(midnight - DAY)
