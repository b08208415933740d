"""The monitor: what everyone sees. Its statuses partition the members, and equal events give equal monitors."""

from collections import Counter
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histories import (
    DAY,
    HOUR,
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
from rotary.domain.facts import CallerFacts, Facts, GroupFacts, fold, pack_counts
from rotary.domain.monitor import MemberStatus, Monitor, monitor
from rotary.events import Event
from rotary.policy import Policy

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
