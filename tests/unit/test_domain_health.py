"""Health: halved by each fresh spam label, back with time, never worse for waiting and never better for a flag."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from histories import DAY, HOUR, MINUTE, NOW, facts_about, flagged, flags, histories, monitored, placed, policies, utc
from rotary.domain.facts import MAX_FLAGS_OF_A_KIND, CallerFacts, Facts
from rotary.domain.quota import days_read
from rotary.events import FLAG_KINDS, Event, FlagKind
from rotary.policy import DEFAULT_POLICY, Policy

laws = settings(max_examples=50, deadline=None)
Sign = tuple[FlagKind, int]


def health(facts: Facts | CallerFacts, now_ms: int = NOW, policy: Policy = DEFAULT_POLICY) -> int:
    caller_facts = facts.caller_facts() if isinstance(facts, Facts) else facts
    return monitored(caller_facts, now_ms, policy=policy).health_score


VOLUME = Policy(volume_calls=1, volume_weight=1.0)
"""Halves the score for two calls in the last 24 hours."""


def signs_hours_old(*signs: Sign) -> CallerFacts:
    return CallerFacts({}, flags(*((kind, NOW - hours * HOUR) for kind, hours in signs)))


def calls(count: int, at_ms: int = NOW) -> CallerFacts:
    return facts_about([placed(str(n), at_ms) for n in range(count)]).caller_facts()


@pytest.mark.parametrize(("labels", "score"), [(0, 100), (1, 50), (2, 25), (3, 13), (4, 6), (8, 0), (256, 0)])
def test_each_fresh_spam_label_halves_it(labels: int, score: int) -> None:
    assert health(CallerFacts({}, flags(*[("spam_label", NOW) for _ in range(labels)]))) == score


def test_a_clock_that_is_far_behind_a_flag_is_no_error() -> None:
    policy = Policy(health_half_life_seconds=1)
    assert health(signs_hours_old(("spam_label", 0)), NOW - HOUR, policy) == 0


CASES: list[tuple[str, list[Sign], int]] = [
    ("a block is two labels", [("blocked", 0)], 25),
    ("a report is one", [("user_report", 0)], 50),
    ("a plain 603 is a quarter of one", [("rejected", 0)], 84),
    ("four of them are one", [("rejected", 0)] * 4, 50),
    ("after three days a label is half of one", [("spam_label", 72)], 71),
    ("after six a quarter", [("spam_label", 144)], 84),
    ("after thirty hardly anything", [("spam_label", 720)], 100),
    ("signs add up", [("blocked", 72), ("spam_label", 72), ("rejected", 0)], 30),
]


@pytest.mark.parametrize(("signs", "score"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_worked_examples_score_as_written(signs: list[Sign], score: int) -> None:
    assert health(signs_hours_old(*signs)) == score


VOLUMES = [(0, 100), (99, 100), (100, 100), (101, 100), (103, 99), (200, 71), (300, 50), (301, 50), (900, 50)]


@pytest.mark.parametrize(("count", "score"), VOLUMES)
def test_calls_beyond_a_hundred_in_a_day_weigh_up_to_one_label(count: int, score: int) -> None:
    assert health(calls(count)) == score


def test_volume_and_signs_add_up() -> None:
    caller_facts = CallerFacts(calls(200).calls, flags(("spam_label", NOW)))
    assert health(caller_facts) == 35


@pytest.mark.parametrize(
    ("call", "now", "counts"),
    [
        ("2026-06-06T12:00:00Z", "2026-06-06T12:00:00Z", True),
        # Whole quarter hours: the one that began exactly a day ago is out, the one after it is in to its last moment.
        ("2026-06-05T12:00:00Z", "2026-06-06T12:00:00Z", False),
        ("2026-06-05T12:14:59Z", "2026-06-06T12:00:00Z", False),
        ("2026-06-05T12:15:00Z", "2026-06-06T12:00:00Z", True),
        ("2026-06-05T12:15:00Z", "2026-06-06T12:14:59Z", True),
        ("2026-06-05T12:29:59Z", "2026-06-06T12:15:00Z", False),
        ("2026-06-05T12:14:59Z", "2026-06-06T11:59:59Z", True),
        # A dialer's clock may be ahead, also across midnight: no upper bound.
        ("2026-06-06T12:05:00Z", "2026-06-06T12:00:00Z", True),
        ("2026-06-07T00:04:00Z", "2026-06-06T23:59:00Z", True),
        # Over a leap day.
        ("2024-02-29T23:45:00Z", "2024-03-01T23:44:59Z", True),
        ("2024-02-28T23:45:00Z", "2024-03-01T00:00:00Z", False),
    ],
)
def test_the_last_day_is_of_quarter_hours_that_began_in_it(call: str, now: str, counts: bool) -> None:
    assert health(calls(2, utc(call)), utc(now), VOLUME) == (50 if counts else 100)


def test_the_last_day_knows_no_time_zone() -> None:
    late, early = utc("2026-06-05T16:30:00Z"), utc("2026-06-05T17:30:00Z")  # either side of midnight in Hanoi
    both = facts_about([placed("1", late), placed("2", early)])
    assert health(both, utc("2026-06-06T01:00:00Z"), VOLUME) == 50


def test_a_clear_ends_the_rest_and_not_the_history() -> None:
    label = facts_about([flagged("1", "spam_label")])
    assert health(Facts(label.calls, label.flags, (NOW,))) == health(label) == 50


OVERRIDES: list[tuple[str, Policy, CallerFacts, int]] = [
    ("severity", Policy(severity_spam_label=2.0), signs_hours_old(("spam_label", 0)), 25),
    ("no severity", Policy(severity_rejected=0.0), signs_hours_old(("rejected", 0)), 100),
    ("half-life", Policy(health_half_life_seconds=3600), signs_hours_old(("blocked", 1)), 50),
    # 9 half-lives leave 504.5 / 512: an age wrong by a thousandth moves the score from 51 to 50.
    ("age", Policy(severity_spam_label=504.5, health_half_life_seconds=3600), signs_hours_old(("spam_label", 9)), 51),
    ("volume", Policy(volume_calls=10), calls(20), 71),
    ("volume's weight", Policy(volume_weight=1.0), calls(200), 50),
    ("volume's limit", Policy(volume_excess_limit=4.0), calls(600), 25),
    ("no volume", Policy(volume_weight=0.0), calls(900), 100),
]


@pytest.mark.parametrize(
    ("policy", "caller_facts", "score"), [case[1:] for case in OVERRIDES], ids=[o[0] for o in OVERRIDES]
)
def test_a_customers_policy_overrides_the_constants(policy: Policy, caller_facts: CallerFacts, score: int) -> None:
    assert health(caller_facts, policy=policy) == score


@laws
@given(histories(callers=(18,)), policies(), st.integers(0, 30 * DAY))
def test_it_is_between_0_and_100_and_needs_only_the_days_that_a_reader_fetches(
    events: list[Event], policy: Policy, later: int
) -> None:
    caller_facts = facts_about(events).caller_facts()
    read = {day: caller_facts.calls[day] for day in days_read(NOW + later) if day in caller_facts.calls}
    score = health(caller_facts, NOW + later, policy)
    assert 0 <= score <= 100
    assert score == health(CallerFacts(read, caller_facts.flags), NOW + later, policy)


@laws
@given(histories(callers=(18,)), policies(), st.sampled_from(FLAG_KINDS), st.integers(-5 * MINUTE, 30 * DAY))
def test_it_never_rises_when_a_flag_is_added(events: list[Event], policy: Policy, kind: FlagKind, ago: int) -> None:
    before = facts_about(events)
    assume(len(before.flags) < MAX_FLAGS_OF_A_KIND)  # beyond it a flag takes an older one's place
    after = facts_about([*events, flagged("one more", kind, NOW - ago)])
    assert health(after, policy=policy) <= health(before, policy=policy)


@laws
@given(histories(callers=(18,), most=120), policies(), st.integers(-5 * MINUTE, 2 * DAY))
def test_it_never_rises_when_a_call_is_added(events: list[Event], policy: Policy, ago: int) -> None:
    after = facts_about([*events, placed("one more", NOW - ago)])
    assert health(after, policy=policy) <= health(facts_about(events), policy=policy)


@laws
@given(histories(callers=(18,), most=120), policies(), st.lists(st.integers(0, 40 * DAY), min_size=2, max_size=8))
def test_it_never_falls_as_time_passes(events: list[Event], policy: Policy, waits: list[int]) -> None:
    facts = facts_about(events)
    scores = [health(facts, NOW + wait, policy) for wait in sorted(waits)]
    assert scores == sorted(scores)
