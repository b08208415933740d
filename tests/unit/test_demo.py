"""The pure parts of the demo: working day, backfill, rotation, and the dashboard at every width."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from io import StringIO
from itertools import pairwise
from random import Random
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console

from rotary.domain.monitor import MemberStatus, Monitor, MonitorMember
from rotary.events import CallPlaced
from rotary.policy import DEFAULT_POLICY
from rotary.publisher import EventFactory
from rotary_demo.activity import ActivityLog, Entry
from rotary_demo.api_client import MonitorReading
from rotary_demo.backfill import backfill_events
from rotary_demo.dashboard import SYMBOLS, DashboardState, format_duration, render
from rotary_demo.past_days import PastCaller, made_up, past_days
from rotary_demo.picks import PickCounts
from rotary_demo.working_day import busyness, call_times_today, demo_pace

HCM = ZoneInfo("Asia/Ho_Chi_Minh")
NOW = datetime(2026, 6, 6, 8, 30, tzinfo=UTC)  # 15:30 in Ho Chi Minh City
MIDNIGHT = datetime(2026, 6, 5, 17, tzinfo=UTC)


def member(caller_id: int, calls: int = 0, cap: int = 40, status: MemberStatus = "eligible") -> MonitorMember:
    until = NOW + timedelta(hours=3, minutes=49) if status == "cooldown" else None
    return MonitorMember(caller_id, f"+84901000{caller_id:03}", "mobifone", status, 100, calls, cap, until)


def group_of(*members: MonitorMember) -> Monitor:
    counts = Counter(member.status for member in members)
    shown = (counts["eligible"], counts["cooldown"], counts["disabled"])
    return Monitor(3, "HCM telesales, north", len(members), *shown, list(members))


def test_a_working_day_has_two_peaks_a_lunch_break_and_no_steps() -> None:
    day = [datetime(2026, 6, 6, tzinfo=HCM) + timedelta(minutes=n) for n in range(24 * 60)]
    assert busyness(day[10 * 60 + 30]) == 1.0 == busyness(day[15 * 60 + 30])
    assert busyness(day[12 * 60 + 30]) < 0.5
    assert busyness(day[3 * 60]) < 0.05
    assert all(abs(busyness(one) - busyness(next_one)) < 0.02 for one, next_one in pairwise(day))
    assert all(0.5 <= demo_pace(moment) <= 1 for moment in day)


@pytest.mark.parametrize("now", [MIDNIGHT, MIDNIGHT + timedelta(seconds=5), NOW, MIDNIGHT + timedelta(hours=23.99)])
def test_backfilled_calls_lie_in_the_local_day_at_any_hour(now: datetime) -> None:
    moments = call_times_today(200, HCM, now, Random(1))
    assert len(moments) == 200
    assert min(moments) >= MIDNIGHT
    assert max(moments) <= now


def test_backfill_leaves_the_stated_calls_and_counts_a_shared_caller_id_once() -> None:
    first = group_of(member(18, cap=60), member(21), member(26), member(29, status="disabled"))
    second = group_of(member(18, cap=60), member(999, cap=100))
    events = list(backfill_events([first, second], EventFactory("/dialers/test"), HCM, NOW, Random(1)))
    placed = [event for event in events if isinstance(event, CallPlaced)]
    calls = Counter(event.data.caller_id_id for event in placed if event.time >= MIDNIGHT)
    assert (calls[18], calls[21], calls[26], calls[29]) == (37, 40, 9, 0)
    assert 20 <= calls[999] <= 50
    assert len({event.id for event in events}) == len(events)
    assert all(timedelta() <= NOW - event.time < timedelta(days=30) for event in events)
    earlier = Counter(event.data.caller_id_id for event in placed if event.time < MIDNIGHT)
    assert earlier.keys() == {18, 21, 26, 999}, "yesterday too"
    assert all(NOW - event.time < timedelta(hours=48) for event in placed)


def test_the_made_up_past_ends_before_what_is_published_and_is_plausible() -> None:
    now_ms = round(NOW.timestamp() * 1000)
    days = past_days("Asia/Ho_Chi_Minh", now_ms)
    yesterday = NOW.astimezone(HCM).date() - timedelta(days=1)
    assert [yesterday - day.date for day in (days[0], days[-1])] == [timedelta(days=34), timedelta(days=1)]
    callers = [PastCaller(18, 200, is_active=True), PastCaller(19, 200, is_active=False)]
    rows = made_up(callers, days, DEFAULT_POLICY, Random(1))
    assert {caller for caller, _ in rows} >= {18}
    for (caller, _), row in rows.items():
        assert row.calls is not None
        assert row.calls <= (200 if caller == 18 else 0)
        assert None not in (*row.flags, row.resting_seconds, row.health)
    assert any(sum(count or 0 for count in row.flags) for row in rows.values())


def test_the_counts_of_picks_say_when_a_group_has_run_out_and_when_it_is_back() -> None:
    counts = PickCounts(watched_group=5)
    counts.refused(5, NOW)
    counts.refused(3, MIDNIGHT)
    counts.picked(3)
    assert (counts.total, counts.refusals, counts.next_at) == (1, 2, NOW)
    counts.picked(5)
    assert (counts.total, counts.next_at) == (2, None)
    assert counts.per_second() == 0.2


def test_the_dashboard_shows_a_group_that_has_run_out() -> None:
    counts = PickCounts(watched_group=5)
    state = DashboardState(MonitorReading(group_of(member(18)), 0), HCM, NOW, 0, 0.0, counts)
    assert "group 5 ● can be picked from" in drawn(state, 110, 24)
    counts.refused(5, NOW + timedelta(seconds=4))
    assert "1 refused · group 5 ◐ has run out, next number in 4s" in drawn(state, 110, 24)


def test_the_activity_log_drops_a_repeated_entry_and_returns_each_once() -> None:
    log = ActivityLog()
    for text in ("away", "away", "back"):
        log.add("error", text)
    assert [entry.text for entry in log.newest] == ["away", "back"]
    assert [entry.text for entry in log.take()] == ["away", "back"]
    assert log.take() == []


@pytest.mark.parametrize("width", [200, 120, 110, 109, 80, 79, 78, 62, 60, 52, 42, 41, 30, 20])
def test_the_dashboard_fits_its_terminal_and_shows_every_member(width: int) -> None:
    monitor = group_of(
        member(18, 37, 60),
        member(19, 41, 40, "quota_exceeded"),
        member(20, 370, 500, "cooldown"),
        member(21, 0, 9, "disabled"),
    )
    state = DashboardState(
        MonitorReading(monitor, 0),
        HCM,
        NOW,
        12_345,
        4.53,
        PickCounts(5),
        activity=[Entry(NOW, "observed", "x" * 300)] * 20,
    )
    for height, entries in ((8, 0), (9, 0), (10, 1), (11, 1), (30, 8)):
        lines = drawn(state, width, height).splitlines()
        assert len(lines) <= height
        assert max(map(len, lines)) <= width
        assert sum("xx" in line for line in lines) == entries
        if width >= 30:
            shown = "\n".join(lines)
            assert all(one.number in shown and SYMBOLS[one.status] in shown for one in monitor.members)
            assert "370/500" in shown


def test_the_dashboard_shows_an_error_instead_of_figures() -> None:
    state = DashboardState(MonitorReading(group_of(member(18)), None), HCM, NOW, 0, 0.0, PickCounts(5))
    assert "lag unknown" in drawn(state, 80, 24)
    failing = DashboardState(
        MonitorReading(group_of(member(18)), 0), HCM, NOW, 0, 0.0, PickCounts(5), error="the API does not answer"
    )
    assert "the API does not answer" in drawn(failing, 80, 24)


def drawn(state: DashboardState, width: int, height: int) -> str:
    console = Console(width=width, height=height, file=StringIO(), color_system=None)
    with console.capture() as captured:
        console.print(render(state, width, height))
    return captured.get()


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0s"), (45, "45s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m"), (86399, "23h59m")]
)
def test_durations_have_two_units_at_most(seconds: int, text: str) -> None:
    assert format_duration(timedelta(seconds=seconds)) == text
