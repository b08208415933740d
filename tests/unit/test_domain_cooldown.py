"""Cooldown: only flags cause it, each one in a week rests longer, and nothing has to happen for it to end."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from histories import DAY, HOUR, MINUTE, NOW, facts_about, flags, histories, policies
from rotary.domain.cooldown import cooldown_until, rests
from rotary.domain.facts import MAX_FLAGS_OF_A_KIND, Facts, Flag, merge_flags
from rotary.events import FLAG_KINDS, Event, FlagKind
from rotary.policy import DEFAULT_POLICY, Policy

laws = settings(max_examples=50, deadline=None)
Sign = tuple[FlagKind, int]
BASE_HOURS: dict[FlagKind, int] = {"user_report": 1, "spam_label": 6, "blocked": 24}


def ends(signs: list[Sign], clear: int | None = None, now: int = 0, policy: Policy = DEFAULT_POLICY) -> float | None:
    """When the rest ends, all in hours from one moment."""
    given_flags = flags(*((kind, NOW + at * HOUR) for kind, at in signs))
    cleared_at = None if clear is None else NOW + clear * HOUR
    until = cooldown_until(given_flags, cleared_at, policy, NOW + now * HOUR)
    return None if until is None else (until - NOW) / HOUR


CASES: list[tuple[str, list[Sign], float | None]] = [
    ("no flags, no rest", [], None),
    ("a user report rests one hour", [("user_report", 0)], 1),
    ("a spam label rests six", [("spam_label", 0)], 6),
    ("a block rests a day", [("blocked", 0)], 24),
    ("a plain 603 rests nobody", [("rejected", 0)], None),
    ("nor do many", [("rejected", 0)] * 200, None),
    ("nor do they make another rest longer", [("rejected", -2), ("rejected", -1), ("spam_label", 0)], 6),
    ("the second in a week rests twice as long", [("spam_label", -1), ("spam_label", 0)], 12),
    ("the third four times", [("spam_label", -2), ("spam_label", -1), ("spam_label", 0)], 24),
    ("kinds count together", [("user_report", -2), ("spam_label", -1), ("blocked", 0)], 96),
    ("at one time too", [("spam_label", 0), ("spam_label", 0)], 12),
    ("the longest rest counts, not the latest flag's", [("blocked", -1), ("user_report", 0)], 23),
    ("flags of one moment count for each other", [("blocked", 0), ("user_report", 0)], 48),
    ("a flag a week old has left the window", [("spam_label", -168), ("spam_label", 0)], 6),
    ("one an hour younger has not", [("spam_label", -167), ("spam_label", 0)], 12),
    ("reports double up to 128 hours", [("user_report", 0)] * 8, 128),
    ("and no rest is longer than a week", [("user_report", 0)] * 9, 168),
    ("however many flags", [("blocked", 0)] * 256, 168),
    ("a rest that is over is no rest", [("spam_label", -6)], None),
]


@pytest.mark.parametrize(("signs", "until"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_worked_examples_of_flags_rest_as_long_as_written(signs: list[Sign], until: float | None) -> None:
    assert ends(signs) == until


CLEARS: list[tuple[str, list[Sign], int | None, float | None]] = [
    ("a clear ends the rest", [("blocked", -2)], -1, None),
    ("a clear at the very time of the flag does too", [("blocked", -1)], -1, None),
    ("a flag after the clear rests anew", [("blocked", -2), ("spam_label", 0)], -1, 6),
    ("and does not count those before it", [("spam_label", -3), ("spam_label", -2), ("spam_label", 0)], -1, 6),
    ("nor is it undone by an older clear", [("spam_label", -1), ("spam_label", 0)], -2, 12),
    ("a clear without flags is nothing", [], -1, None),
]


@pytest.mark.parametrize(("signs", "clear", "until"), [case[1:] for case in CLEARS], ids=[case[0] for case in CLEARS])
def test_worked_examples_of_clears_rest_as_long_as_written(
    signs: list[Sign], clear: int | None, until: float | None
) -> None:
    assert ends(signs, clear) == until


def test_the_window_and_the_end_are_exact_to_the_millisecond() -> None:
    a_week_apart = flags(("spam_label", NOW - 7 * DAY), ("spam_label", NOW))
    assert cooldown_until(a_week_apart, None, DEFAULT_POLICY, NOW) == NOW + 6 * HOUR
    assert list(rests(a_week_apart, (), DEFAULT_POLICY))[-1] == (NOW, NOW + 6 * HOUR)
    just_within = flags(("spam_label", NOW - 7 * DAY + 1), ("spam_label", NOW))
    assert cooldown_until(just_within, None, DEFAULT_POLICY, NOW) == NOW + 12 * HOUR
    assert list(rests(just_within, (), DEFAULT_POLICY))[-1] == (NOW, NOW + 12 * HOUR)

    until = NOW + 6 * HOUR
    label = flags(("spam_label", NOW))
    assert cooldown_until(label, None, DEFAULT_POLICY, until - 1) == until
    assert cooldown_until(label, None, DEFAULT_POLICY, until) is None

    assert cooldown_until(label, NOW - 1, DEFAULT_POLICY, NOW) == until
    assert cooldown_until(label, NOW, DEFAULT_POLICY, NOW) is None


def test_a_flag_whose_clock_is_ahead_rests_from_its_own_time() -> None:
    ahead = flags(("user_report", NOW + 5 * MINUTE))
    assert cooldown_until(ahead, None, DEFAULT_POLICY, NOW) == NOW + 5 * MINUTE + HOUR


OVERRIDES: list[tuple[str, Policy, list[Sign], float | None]] = [
    ("a base of one's own", Policy(cooldown_spam_label_seconds=3600), [("spam_label", 0)], 1),
    ("doubles as any", Policy(cooldown_spam_label_seconds=3600), [("spam_label", -1), ("spam_label", 0)], 2),
    ("a lower cap", Policy(cooldown_cap_seconds=7200), [("blocked", 0)], 2),
    ("a higher cap", Policy(cooldown_cap_seconds=30 * 86400), [("blocked", 0)] * 5, 384),
    ("a shorter window", Policy(cooldown_window_seconds=3600), [("spam_label", -1), ("spam_label", 0)], 6),
    ("a longer window", Policy(cooldown_window_seconds=8 * 86400), [("spam_label", -168), ("spam_label", 0)], 12),
    ("what is not overridden stays", Policy(cooldown_spam_label_seconds=60), [("blocked", 0)], 24),
]


@pytest.mark.parametrize(("policy", "signs", "until"), [case[1:] for case in OVERRIDES], ids=[o[0] for o in OVERRIDES])
def test_a_customers_policy_overrides_the_constants(policy: Policy, signs: list[Sign], until: float | None) -> None:
    assert ends(signs, policy=policy) == until


def by_the_formula(facts: Facts, now_ms: int) -> int | None:
    """docs/meaning.md word for word, each flag looking at every other."""
    rests = [f for f in facts.flags if f.kind != "rejected"]
    if facts.cleared_at_ms is not None:
        rests = [f for f in rests if f.at_ms > facts.cleared_at_ms]
    untils = []
    for f in rests:
        n = sum(f.at_ms - 7 * DAY < g.at_ms <= f.at_ms for g in rests)
        untils.append(f.at_ms + min(7 * DAY, BASE_HOURS[f.kind] * HOUR * 2 ** (n - 1)))
    until = max(untils, default=now_ms)
    return until if now_ms < until else None


@laws
@given(histories(callers=(18,)), st.integers(-2 * DAY, 10 * DAY))
def test_the_end_of_a_rest_is_the_formulas(events: list[Event], later: int) -> None:
    facts = facts_about(events)
    now_ms = NOW + later
    assert cooldown_until(facts.flags, facts.cleared_at_ms, DEFAULT_POLICY, now_ms) == by_the_formula(facts, now_ms)


@laws
@given(histories(callers=(18,)), policies(), st.sampled_from(FLAG_KINDS), st.integers(0, 30 * DAY))
def test_a_further_flag_never_ends_a_rest_sooner(
    events: list[Event], policy: Policy, kind: FlagKind, ago: int
) -> None:  # fmt: skip
    facts = facts_about(events)
    assume(sum(flag.kind == kind for flag in facts.flags) < MAX_FLAGS_OF_A_KIND)
    more = merge_flags(facts.flags, [Flag(NOW - ago, 7, kind)])
    before = cooldown_until(facts.flags, facts.cleared_at_ms, policy, NOW) or NOW
    assert (cooldown_until(more, facts.cleared_at_ms, policy, NOW) or NOW) >= before


@laws
@given(histories(callers=(18,)), policies(), st.integers(0, 60 * DAY))
def test_time_alone_never_moves_the_end(events: list[Event], policy: Policy, later: int) -> None:
    facts = facts_about(events)
    until = cooldown_until(facts.flags, facts.cleared_at_ms, policy, NOW)
    afterwards = cooldown_until(facts.flags, facts.cleared_at_ms, policy, NOW + later)
    assert afterwards == (until if until is not None and NOW + later < until else None)
