"""The monitor: what everyone sees. Its statuses partition the members, and equal events give equal monitors."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histories import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    by_row,
    deliveries,
    facts_about,
    flagged,
    flags,
    group,
    histories,
    member,
    monitored,
    placed,
    policies,
    utc,
)
from rotary.definitions import GroupDefinition, Status
from rotary.domain.cooldown import cooldown_until
from rotary.domain.facts import QUARTER_MS, CallerFacts, Facts, GroupFacts, fold, pack_counts
from rotary.domain.health import health_score
from rotary.domain.monitor import MemberStatus, Monitor, monitor, windows_at
from rotary.domain.quota import days_read
from rotary.events import Event
from rotary.policy import DEFAULT_POLICY, Policy

laws = settings(max_examples=50, deadline=None)
HCM = "Asia/Ho_Chi_Minh"


def seen(of: GroupDefinition, folded: dict[int, Facts], now_ms: int = NOW) -> Monitor:
    return monitor(of, by_row(of, {caller: facts.caller_facts() for caller, facts in folded.items()}), now_ms)


def called(times: int) -> dict[int, bytes]:
    """That many calls, just now."""
    counts = [0] * 96
    counts[NOW // 900_000 % 96] = times
    return {NOW // DAY: pack_counts(counts)}


def groups() -> st.SearchStrategy[GroupDefinition]:
    """A group with the caller IDs that histories are about, some that nothing happened to, in some zone."""
    status: st.SearchStrategy[Status] = st.sampled_from(["active", "active", "disabled"])
    members = st.tuples(*(st.builds(member, st.just(caller), status, st.integers(1, 12)) for caller in (1, 7, 18)))
    zones = st.sampled_from([HCM, "UTC", "Asia/Kathmandu", "America/New_York", "Pacific/Kiritimati"])
    return st.builds(group, members, zones, policies())


@laws
@given(st.data(), groups(), st.integers(0, 3 * DAY))
def test_any_order_duplication_and_batches_give_the_same_monitor(
    data: st.DataObject, of: GroupDefinition, later: int
) -> None:
    events = data.draw(histories())
    folded: dict[int, Facts] = {}
    for batch in data.draw(deliveries(events)):
        folded = fold(folded, batch)
    assert seen(of, folded, NOW + later) == seen(of, fold({}, events), NOW + later)


@laws
@given(histories(), groups(), st.integers(0, 3 * DAY))
def test_statuses_partition_the_members(events: list[Event], of: GroupDefinition, later: int) -> None:
    now = seen(of, fold({}, events), NOW + later)
    over_quota = sum(line.status == "quota_exceeded" for line in now.members)
    assert now.total_members == len(now.members) == len(of.members)
    assert now.total_members == now.eligible_now + now.in_cooldown + now.disabled + over_quota
    assert [line.caller_id_id for line in now.members] == [each.id for each in of.members]
    for line, definition in zip(now.members, of.members, strict=True):
        assert (line.cooldown_until is not None) == (line.status == "cooldown")
        assert (line.status == "disabled") == (definition.status == "disabled")
        assert line.cooldown_until is None or line.cooldown_until >= datetime.fromtimestamp((NOW + later) // 1000, UTC)


# Both date lines, offsets of half and three quarters of an hour, clock changes at midnight and of half an hour.
ZONES = (HCM, "UTC", "Asia/Kathmandu", "America/New_York", "America/Havana", "Africa/Cairo", "Australia/Lord_Howe")
# Days around clock changes, and one that has none.
DAYS = [utc(f"{day}T00:00:00Z") for day in ("2024-03-10", "2024-04-07", "2024-04-26", "2024-11-03", "2026-06-06")]
# Every single call moves health by a point or more, up to 30 of them.
SENSITIVE = Policy(volume_calls=1, volume_weight=0.03, volume_excess_limit=1000)


def date_in(zone: str, at_ms: int) -> datetime:
    """The local midnight of a moment, whose date is the customer's day."""
    return datetime.fromtimestamp(at_ms // 1000, ZoneInfo(zone)).replace(hour=0, minute=0, second=0, fold=0)


def edges(zone: str, now_ms: int) -> list[int]:
    """Where a call stops counting, to the millisecond: local and UTC midnights, quarter hours of a day ago, now."""
    midnight = date_in(zone, now_ms)
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
    assert line.calls_today == sum(date_in(zone, at).date() == date_in(zone, now_ms).date() for at in calls)
    recent = sum(at // QUARTER_MS * QUARTER_MS > now_ms - DAY for at in calls)
    penalty = 0.03 * (recent - 1) if recent > 1 else 0
    assert line.health_score == int(100 * 2**-penalty + 0.5)


@laws
@given(histories(callers=(18,)), policies(), st.integers(-2 * DAY, 10 * DAY))
def test_a_member_rests_as_long_as_the_formula_says(events: list[Event], policy: Policy, later: int) -> None:
    facts = facts_about(events).caller_facts()
    until = cooldown_until(facts.flags, facts.cleared_at_ms, policy, NOW + later)
    line = monitored(facts, NOW + later, HCM, policy)
    assert line.cooldown_until == (None if until is None else datetime.fromtimestamp(until // 1000, UTC))


def test_a_clear_ends_the_rest_in_the_monitor_too() -> None:
    label = flags(("spam_label", NOW - HOUR))
    lines = [monitored(CallerFacts({}, label, at)) for at in (None, NOW - 2 * HOUR, NOW)]
    assert [line.status for line in lines] == ["cooldown", "cooldown", "eligible"]


@pytest.mark.parametrize("zone", ZONES)
def test_no_more_days_are_summed_than_a_reader_fetches(zone: str) -> None:
    for quarter in range(NOW // QUARTER_MS, (NOW + DAY) // QUARTER_MS):
        assert set(windows_at(zone, quarter)) <= set(days_read(quarter * QUARTER_MS))


# status of the caller ID, calls of its cap of 5, whether it rests
PRECEDENCE: list[tuple[Status, int, bool, MemberStatus]] = [
    ("active", 0, False, "eligible"),
    ("active", 4, False, "eligible"),
    ("active", 5, False, "quota_exceeded"),
    ("active", 6, False, "quota_exceeded"),
    ("active", 0, True, "cooldown"),
    ("active", 5, True, "cooldown"),
    ("disabled", 0, False, "disabled"),
    ("disabled", 5, False, "disabled"),
    ("disabled", 0, True, "disabled"),
    ("disabled", 5, True, "disabled"),
]


@pytest.mark.parametrize(("status", "calls", "rests", "expected"), PRECEDENCE)
def test_disabled_outranks_cooldown_outranks_quota(
    status: Status, calls: int, rests: bool, expected: MemberStatus
) -> None:
    definition = member(status=status, daily_cap=5)
    of = group([definition])
    facts = CallerFacts(called(calls), flags(("spam_label", NOW)) if rests else ())
    (line,) = monitor(of, by_row(of, {definition.id: facts}), NOW).members
    until = datetime.fromtimestamp((NOW + 6 * HOUR) // 1000, UTC) if expected == "cooldown" else None
    assert (line.status, line.calls_today, line.cooldown_until) == (expected, calls, until)


def test_an_overshoot_is_shown_as_it_is() -> None:
    line = monitored(CallerFacts(called(317)))
    assert (line.status, line.calls_today, line.daily_cap) == ("quota_exceeded", 317, 200)


def test_a_group_of_a_hundred_82_healthy_and_dialling_14_resting_3_disabled_1_over_its_cap() -> None:
    of = group([member(n, "disabled" if n > 97 else "active") for n in range(1, 101)])
    facts = {n: CallerFacts(called(n)) for n in range(1, 83)}
    facts |= {n: CallerFacts(called(40), flags(("spam_label", NOW))) for n in range(83, 97)}
    facts |= {
        97: CallerFacts(called(201)),
        98: CallerFacts(called(500), flags(("blocked", NOW))),
        99: CallerFacts(called(1)),
    }
    now = monitor(of, by_row(of, facts), NOW)
    assert (now.group_id, now.group_name, now.total_members) == (3, "Sales HCM", 100)
    assert (now.eligible_now, now.in_cooldown, now.disabled) == (82, 14, 3)
    assert Counter(line.status for line in now.members) == {
        "eligible": 82,
        "cooldown": 14,
        "disabled": 3,
        "quota_exceeded": 1,
    }
    assert sum(line.calls_today for line in now.members) == 82 * 83 // 2 + 14 * 40 + 201 + 500 + 1
    assert {line.health_score for line in now.members[:82]} == {100}
    assert {line.health_score for line in now.members[82:96]} == {50}


def test_the_body_has_exactly_these_fields_in_this_order() -> None:
    of = group([member(18), member(19, daily_cap=2)])
    folded = fold(
        {}, [placed("1"), placed("2", caller=19), placed("3", caller=19), flagged("4", "spam_label", NOW + 999)]
    )
    assert msgspec.json.format(msgspec.json.encode(seen(of, folded, NOW + 1000)), indent=0).decode() == (
        '{"group_id": 3, "group_name": "Sales HCM", "total_members": 2, "eligible_now": 0, "in_cooldown": 1,'
        ' "disabled": 0, "members": ['
        '{"caller_id_id": 18, "number": "+84900000018", "carrier": "viettel", "status": "cooldown", "health_score": 50,'
        ' "calls_today": 1, "daily_cap": 200, "cooldown_until": "2026-06-06T18:00:00Z"}, '
        '{"caller_id_id": 19, "number": "+84900000019", "carrier": "viettel", "status": "quota_exceeded",'
        ' "health_score": 100, "calls_today": 2, "daily_cap": 2, "cooldown_until": null}]}'
    )


def test_a_group_without_members_and_a_member_without_facts() -> None:
    empty = seen(group([]), {})
    assert (empty.total_members, empty.eligible_now, empty.in_cooldown, empty.disabled, empty.members) == (
        0,
        0,
        0,
        0,
        [],
    )
    (line,) = seen(group([member()]), {}).members
    assert (line.status, line.health_score, line.calls_today, line.cooldown_until) == ("eligible", 100, 0, None)


def test_facts_of_another_group_are_refused() -> None:
    of = group([member(18), member(19)])
    with pytest.raises(ValueError, match="longer than"):
        monitor(of, GroupFacts.of([18, 19, 20], {}), NOW)


def test_a_disabled_group_is_shown_with_its_members_own_statuses() -> None:
    of = msgspec.structs.replace(group([member(18), member(19, "disabled")]), status="disabled")
    assert [line.status for line in seen(of, {}).members] == ["eligible", "disabled"]


def test_midnight_of_the_customers_zone_gives_the_cap_back_to_the_second() -> None:
    last = utc("2026-06-05T23:59:59+07:00")
    of = group([member(daily_cap=1)])
    folded = fold({}, [placed("1", last)])
    assert [seen(of, folded, at).eligible_now for at in (last, last + 999, last + 1000)] == [0, 0, 1]


def test_a_rest_ends_to_the_second_without_any_event() -> None:
    folded = fold({}, [flagged("1", "user_report")])
    lines = [seen(group([member()]), folded, NOW + HOUR + shift).members[0] for shift in (-1, 0)]
    assert [line.status for line in lines] == ["cooldown", "eligible"]
    assert lines[0].cooldown_until == datetime.fromtimestamp((NOW + HOUR) // 1000, UTC)


def test_one_caller_id_in_two_groups_rests_and_counts_in_both() -> None:
    folded = fold({}, [placed("1"), flagged("2", "blocked")])
    a, b = (seen(group([member(), member(19 + n)]), folded).members[0] for n in range(2))
    assert a == b
    assert a.status == "cooldown"


@pytest.mark.parametrize(
    "overrides",
    [
        {"cooldown_blocked_hours": 1},
        {"cooldown_blocked_seconds": 0},
        {"cooldown_blocked_seconds": 30 * 86_400 + 1},
        {"cooldown_blocked_seconds": 1.5},
        {"cooldown_blocked_seconds": "3600"},
        {"severity_blocked": -0.1},
        {"severity_blocked": float("nan")},
        {"health_half_life_seconds": 0},
        {"volume_calls": 0},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(overrides: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(overrides, Policy)


def test_a_policy_overrides_any_subset_by_name() -> None:
    policy = msgspec.json.decode(b'{"cooldown_blocked_seconds": 60, "severity_blocked": 3}', type=Policy)
    assert policy == Policy(cooldown_blocked_seconds=60, severity_blocked=3.0)
    assert msgspec.json.decode(b"{}", type=Policy) == DEFAULT_POLICY


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


def test_the_default_policy_is_the_documented_one() -> None:
    hour, day = 3600, 86_400
    assert msgspec.structs.asdict(DEFAULT_POLICY) == {
        "cooldown_user_report_seconds": hour,
        "cooldown_spam_label_seconds": 6 * hour,
        "cooldown_blocked_seconds": 24 * hour,
        "cooldown_window_seconds": 7 * day,
        "cooldown_cap_seconds": 7 * day,
        "severity_blocked": 2.0,
        "severity_spam_label": 1.0,
        "severity_user_report": 1.0,
        "severity_rejected": 0.25,
        "health_half_life_seconds": 72 * hour,
        "volume_weight": 0.5,
        "volume_calls": 100,
        "volume_excess_limit": 2.0,
        "unknown_caller_ids_per_day": 1000,
        "pick_ttl_seconds": 30,
        "sticky_days": 90,
        "warm_up": (),
    }
