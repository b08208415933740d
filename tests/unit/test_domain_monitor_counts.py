"""What the monitor counts: the calls of the customer's day and of the last 24 hours, in every zone."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histories import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    facts_about,
    monitored,
    placed,
    utc,
)
from rotary.domain.facts import QUARTER_MS, CallerFacts, pack_counts
from rotary.domain.health import health_score
from rotary.domain.monitor import windows_at
from rotary.domain.quota import days_read
from rotary.policy import DEFAULT_POLICY, Policy

HCM = "Asia/Ho_Chi_Minh"

# Both date lines, offsets of half and three quarters of an hour, clock changes at midnight and of half an hour.
ZONES = (HCM, "UTC", "Asia/Kathmandu", "America/New_York", "America/Havana", "Africa/Cairo", "Australia/Lord_Howe")
# Days around clock changes, and one that has none.
DAYS = [utc(f"{day}T00:00:00Z") for day in ("2024-03-10", "2024-04-07", "2024-04-26", "2024-11-03", "2026-06-06")]
# Every single call moves health by a point or more, up to 30 of them.
SENSITIVE = Policy(volume_calls=1, volume_weight=0.03, volume_excess_limit=1000)


def local_midnight(zone: str, at_ms: int) -> datetime:
    """When the customer's day began that a moment is in."""
    return datetime.fromtimestamp(at_ms // 1000, ZoneInfo(zone)).replace(hour=0, minute=0, second=0, fold=0)


def edges(zone: str, now_ms: int) -> list[int]:
    """Where a call stops counting, to the millisecond: local and UTC midnights, quarter hours of a day ago, now."""
    midnight = local_midnight(zone, now_ms)
    following = (midnight.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=ZoneInfo(zone))
    turns = [int(at.timestamp()) * 1000 for at in (midnight, following)]
    turns += [now_ms // unit * unit + unit * shift for unit in (DAY, QUARTER_MS) for shift in (0, 1)]
    turns += [now_ms // QUARTER_MS * QUARTER_MS - DAY + QUARTER_MS * shift for shift in (0, 1)]
    return [turn + shift for turn in turns for shift in (-1, 0)] + [now_ms, now_ms + 5 * MINUTE]


@st.composite
def looks(draw: st.DrawFn) -> tuple[str, int, list[int]]:
    """A zone, a moment at which somebody looks, often just before or after a midnight, and calls around the edges."""
    zone, day = draw(st.sampled_from(ZONES)), draw(st.sampled_from(DAYS))
    near = st.sampled_from(edges(zone, day + draw(st.integers(0, 23)) * HOUR))
    now_ms = draw(near.map(lambda edge: edge + draw(st.integers(-5 * MINUTE, MINUTE))) | st.integers(day, day + DAY))
    at = st.sampled_from(edges(zone, now_ms)) | st.integers(now_ms - 2 * DAY, now_ms + 5 * MINUTE)
    calls = draw(st.lists(at, min_size=1, max_size=30))
    return zone, now_ms, [call for call in calls if call <= now_ms + 5 * MINUTE]


@settings(max_examples=400, deadline=None)
@given(looks())
def test_the_monitor_counts_what_the_formulas_say_in_every_zone_and_across_clock_changes(
    look: tuple[str, int, list[int]],
) -> None:
    zone, now_ms, calls = look
    facts = facts_about([placed(str(number), at) for number, at in enumerate(calls)]).caller_facts()
    line = monitored(facts, now_ms, zone, SENSITIVE)
    assert line.calls_today == sum(local_date(zone, at) == local_date(zone, now_ms) for at in calls)
    recent = sum(at // QUARTER_MS * QUARTER_MS > now_ms - DAY for at in calls)
    penalty = 0.03 * (recent - 1) if recent > 1 else 0
    assert line.health_score == int(100 * 2**-penalty + 0.5)


@pytest.mark.parametrize("zone", ZONES)
def test_no_more_days_are_summed_than_a_reader_fetches(zone: str) -> None:
    for quarter in range(NOW // QUARTER_MS, (NOW + DAY) // QUARTER_MS):
        assert set(windows_at(zone, quarter)) <= set(days_read(quarter * QUARTER_MS))


days = st.dictionaries(
    st.integers(-2, 1),
    st.lists(st.sampled_from([0, 0, 0, 1, 7, 2**32 - 1]), max_size=96),
    max_size=4,
)


def naive_counts(counts: Mapping[int, Sequence[int]], zone: str, now_ms: int) -> tuple[int, int]:
    """Calls today and in the last 24 hours, quarter hour by quarter hour, as the definitions put it."""
    today, day_ago = local_date(zone, now_ms), now_ms - DAY
    quarters = [
        (day * DAY + number * QUARTER_MS, placed) for day, row in counts.items() for number, placed in enumerate(row)
    ]
    return (
        sum(placed for begin, placed in quarters if local_date(zone, begin) == today),
        sum(placed for begin, placed in quarters if begin > day_ago),
    )


@cache
def local_date(zone: str, at_ms: int) -> date:
    return datetime.fromtimestamp(at_ms // 1000, ZoneInfo(zone)).date()


def assert_counts_as_the_naive_formula(
    counts: Mapping[int, Sequence[int]], zone: str, now_ms: int, policy: Policy
) -> None:
    packed = {day: pack_counts(row) for day, row in counts.items()}
    shown = monitored(CallerFacts(packed), now_ms, zone, policy)
    calls, recent = naive_counts(counts, zone, now_ms)
    assert shown.calls_today == calls, (zone, now_ms)
    assert shown.health_score == health_score(recent, (), policy, now_ms), (zone, now_ms)


@settings(max_examples=300, deadline=None)
@given(
    days,
    st.sampled_from([HCM, "UTC", "Asia/Kathmandu", "America/New_York", "Pacific/Kiritimati", "Australia/Lord_Howe"]),
    st.sampled_from(["2026-03-08", "2026-11-01", "2026-04-05", "2026-10-04", "2026-06-06"]),
    st.integers(0, 2 * 96),
)
def test_the_monitor_counts_as_the_naive_formula_does(
    counts: dict[int, list[int]], timezone: str, date: str, quarter: int
) -> None:
    now_ms = utc(f"{date}T00:00:00Z") + quarter * QUARTER_MS
    calls = {now_ms // DAY + at: row for at, row in counts.items()}
    assert_counts_as_the_naive_formula(calls, timezone, now_ms, DEFAULT_POLICY)


YEAR = range(utc("2026-01-01T00:00:00Z"), utc("2027-01-01T00:00:00Z"), DAY)


@cache
def civil_zones() -> tuple[str, ...]:
    """Every zone in civil use, one of each name that the others are links to as far as 2026 can tell them apart."""
    by_offsets: dict[tuple[timedelta | None, ...], str] = {}
    for zone in sorted(available_timezones()):
        weeks = {offset(zone, day) for day in YEAR[::7]}
        # A zone that has its clocks changed is asked for the day: no other keeps so many workers that long.
        offsets = weeks if len(weeks) == 1 else (offset(zone, day) for day in YEAR)
        by_offsets.setdefault(tuple(offsets), zone)
    return tuple(by_offsets.values())


def offset(zone: str, at_ms: int) -> timedelta | None:
    return datetime.fromtimestamp(at_ms // 1000, ZoneInfo(zone)).utcoffset()


@pytest.mark.parametrize("zone", civil_zones())
def test_the_monitor_counts_as_the_naive_formula_does_in_every_zone_and_across_its_clock_changes(zone: str) -> None:
    changes = [day for day in YEAR if offset(zone, day) != offset(zone, day + DAY)]
    for day in changes or [YEAR[150]]:
        for now_ms in range(day - DAY, day + 2 * DAY, HOUR + QUARTER_MS):
            # A different number in each quarter hour: a window that is off by one has another sum.
            today = now_ms // DAY
            counts = {today + at: [(at + 2) * 96 + number for number in range(96)] for at in (-1, 0, 1)}
            _, recent = naive_counts(counts, zone, now_ms)
            # The volume lowers health from one call above `volume_calls`: both lines hold for `recent` alone.
            for volume_calls in (recent, recent - 1):
                policy = Policy(volume_calls=volume_calls, volume_weight=1000.0)
                assert_counts_as_the_naive_formula(counts, zone, now_ms, policy)
            assert health_score(recent, (), policy, now_ms) < 100
