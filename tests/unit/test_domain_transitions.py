"""Webhooks tell what begins and what ends, as the monitor shows it, also when only time has passed."""

import hashlib
import hmac
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from histories import by_row
from pick_groups import group, member
from rotary.definitions import GroupDefinition
from rotary.domain.facts import QUARTER_MS, CallerFacts, Flag, pack_counts
from rotary.domain.monitor import monitor
from rotary.domain.signatures import is_authentic, sign
from rotary.domain.transitions import CallerStatus, Condition, caller_status, conditions, transitions
from rotary.policy import DEFAULT_POLICY

NOW = 1_780_747_200_000  # 2026-06-06T12:00:00Z, 19:00 in Ho Chi Minh City
HOUR = 3_600_000
MIDNIGHT = NOW + 5 * HOUR
DAY = NOW // 86_400_000


@dataclass
class Facts:
    """Of the caller IDs of one group."""

    facts: dict[int, CallerFacts] = field(default_factory=dict)

    def flag(self, caller: int, at_ms: int = NOW) -> None:
        self.facts[caller] = CallerFacts({}, (Flag(at_ms, 1, "user_report"),))  # rests an hour

    def calls(self, caller: int, count: int) -> None:
        self.facts[caller] = CallerFacts({DAY: pack_counts([0] * ((NOW // QUARTER_MS) % 96) + [count])})


def statuses(of: GroupDefinition, facts: Facts, now_ms: int) -> dict[int, CallerStatus]:
    return {one.id: caller_status(one, facts.facts.get(one.id, CallerFacts({})), of, now_ms) for one in of.members}


def held(of: GroupDefinition, facts: Facts, now_ms: int = NOW) -> set[Condition]:
    return conditions(statuses(of, facts, now_ms), [of])


def subjects(of: GroupDefinition) -> set[Condition]:
    kinds = {Condition("cooldown", one.id) for one in of.members} | {Condition("quota", one.id) for one in of.members}
    return kinds | {Condition("exhausted", of.id)}


TWO = group([member(18, daily_cap=3), member(19, daily_cap=3)])
DISABLED = group([member(18, daily_cap=3), member(19, daily_cap=3, status="disabled")])


def test_a_flag_begins_a_cooldown_and_time_ends_it() -> None:
    facts = Facts()
    facts.flag(18)
    began = held(TWO, facts)
    assert transitions(set(), began, subjects(TWO)) == [("caller_id.cooldown_started", 18)]
    assert statuses(TWO, facts, NOW)[18].changes_ms == NOW + HOUR
    assert transitions(began, held(TWO, facts, NOW + HOUR - 1), subjects(TWO)) == []
    assert transitions(began, held(TWO, facts, NOW + HOUR), subjects(TWO)) == [("caller_id.cooldown_ended", 18)]


def test_a_clear_ends_a_cooldown() -> None:
    facts = Facts()
    facts.flag(18)
    facts.facts[18] = structs.replace(facts.facts[18], cleared_at_ms=NOW)
    assert held(TWO, facts) == set()


def test_a_status_is_what_a_webhook_says_of_a_caller_id_with_and_without_facts() -> None:
    facts = Facts()
    facts.calls(18, 3)
    ours, other = TWO.members
    assert statuses(TWO, facts, NOW) == {
        18: CallerStatus(
            ours.number,
            is_eligible=False,
            until_ms=None,
            is_over_quota=True,
            calls_today=3,
            daily_cap=3,
            changes_ms=MIDNIGHT,
        ),
        19: CallerStatus(
            other.number,
            is_eligible=True,
            until_ms=None,
            is_over_quota=False,
            calls_today=0,
            daily_cap=3,
            changes_ms=None,
        ),
    }


def test_a_quota_is_told_when_it_is_reached_and_midnight_alone_recovers_the_group() -> None:
    facts = Facts()
    facts.calls(18, 3)
    assert transitions(set(), held(DISABLED, facts), subjects(DISABLED)) == [
        ("caller_id.quota_exceeded", 18),
        ("group.exhausted", DISABLED.id),
    ]
    assert statuses(DISABLED, facts, NOW)[18].changes_ms == MIDNIGHT
    tomorrow = held(DISABLED, facts, MIDNIGHT)
    assert transitions(held(DISABLED, facts), tomorrow, subjects(DISABLED)) == [("group.recovered", DISABLED.id)]


def test_a_group_without_members_is_not_exhausted() -> None:
    assert held(group([]), Facts()) == set()
    assert held(group([member(18, status="disabled")]), Facts()) == {Condition("exhausted", group([]).id)}


def test_a_disabled_caller_id_rests_as_an_active_one_does() -> None:
    facts = Facts()
    facts.flag(19)
    assert Condition("cooldown", 19) in held(DISABLED, facts)
    enabled = structs.replace(DISABLED, members=TWO.members)
    assert held(enabled, facts) - held(DISABLED, facts) == set()


def test_what_is_gone_has_not_ended() -> None:
    known = {Condition("cooldown", 18), Condition("exhausted", 9)}
    assert transitions(known, set(), set()) == []


@given(
    st.dictionaries(st.sampled_from([18, 19, 20]), st.tuples(st.booleans(), st.integers(0, 5))),
    st.sets(st.sampled_from([18, 19, 20])),
    st.integers(0, 30 * 3_600_000),
)
def test_conditions_are_what_the_monitor_shows(
    states: dict[int, tuple[bool, int]], disabled: set[int], later_ms: int
) -> None:
    of = group([member(n, daily_cap=3, status="disabled" if n in disabled else "active") for n in (18, 19, 20)])
    facts = Facts()
    for caller, (is_flagged, count) in states.items():
        facts.calls(caller, count)
        if is_flagged:
            facts.facts[caller] = structs.replace(facts.facts[caller], flags=(Flag(NOW, 1, "blocked"),))
    now_ms = NOW + later_ms
    shown, found = monitor(of, by_row(of, facts.facts), now_ms), held(of, facts, now_ms)
    for one in shown.members:
        if one.status != "disabled":
            assert (Condition("cooldown", one.caller_id_id) in found) == (one.status == "cooldown")
        assert (Condition("quota", one.caller_id_id) in found) == (one.calls_today >= one.daily_cap)
    assert (Condition("exhausted", of.id) in found) == (shown.eligible_now == 0)


@given(st.integers(0, 40 * 3_600_000), st.booleans(), st.integers(0, 5))
def test_between_now_and_the_moment_that_is_named_time_changes_nothing(
    ahead_ms: int, is_flagged: bool, count: int
) -> None:
    facts = Facts()
    facts.calls(18, count)
    if is_flagged:
        facts.facts[18] = structs.replace(facts.facts[18], flags=(Flag(NOW, 1, "spam_label"),))
    now = statuses(TWO, facts, NOW)[18]
    if now.changes_ms is None or NOW + ahead_ms < now.changes_ms:
        later = statuses(TWO, facts, NOW + ahead_ms)[18]
        assert (later.until_ms, later.is_eligible) == (now.until_ms, now.is_eligible)


@pytest.mark.parametrize(
    ("secret", "timestamp", "body", "now", "authentic"),
    [
        ("s", 1000, b"{}", 1000, True),
        ("s", 1000, b"{}", 1300, True),
        ("s", 1000, b"{}", 700, True),
        ("s", 1000, b"{}", 1301, False),
        ("s", 1000, b"{}", 699, False),
        ("other", 1000, b"{}", 1000, False),
        ("s", 1001, b"{}", 1000, False),
        ("s", 1000, b"{ }", 1000, False),
    ],
)
def test_a_signature_is_of_the_secret_the_time_and_the_body_and_fresh_for_300_s(
    secret: str, timestamp: int, body: bytes, now: int, *, authentic: bool
) -> None:
    assert is_authentic(secret, sign("s", 1000, b"{}"), timestamp, body, now) == authentic


def test_a_signature_is_an_hmac_as_documented() -> None:
    expected = hmac.new(b"whsec_x", b'1780747200.{"a":1}', hashlib.sha256).hexdigest()
    assert sign("whsec_x", 1_780_747_200, b'{"a":1}') == f"sha256={expected}"
    assert DEFAULT_POLICY.cooldown_user_report_seconds == 3_600
