"""History: the figures of a finished day, in every zone, and what facts can no longer tell."""

from datetime import date, timedelta
from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histories import DAY, HOUR, MINUTE, SECOND, facts_about, flags, histories, policies, utc
from rotary.domain.cooldown import cooldown_until
from rotary.domain.facts import MAX_CLEARS, MAX_FLAGS_OF_A_KIND, QUARTER_MS, QUARTERS_A_DAY, Facts, Flag, pack_counts
from rotary.domain.health import health_score
from rotary.domain.history import (
    NOTHING,
    Coverage,
    Day,
    Figures,
    Known,
    PastFacts,
    completed,
    day_of,
    figures,
    known,
    nothing,
)
from rotary.events import FLAG_KINDS, FlagKind
from rotary.policy import DEFAULT_POLICY, Policy

ZONES = ("Asia/Ho_Chi_Minh", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns", "UTC")
EVERYTHING = Known(calls=True, flags=True, resting=True, health=True)
NOTHING_KNOWN = Known(calls=False, flags=False, resting=False, health=False)
D = day_of("Asia/Ho_Chi_Minh", date(2026, 6, 5))
"""From 2026-06-04T17:00Z to 2026-06-05T17:00Z."""


def past(facts: Facts) -> PastFacts:
    return PastFacts(facts.caller_facts().calls, facts.flags, facts.clears)


def calls_at(*times: int) -> PastFacts:
    counts: dict[int, list[int]] = {}
    for at_ms in times:
        counts.setdefault(at_ms // DAY, [0] * QUARTERS_A_DAY)[at_ms // QUARTER_MS % QUARTERS_A_DAY] += 1
    return PastFacts({day: pack_counts(row) for day, row in counts.items()})


def seen(facts: PastFacts, day: Day = D, policy: Policy = DEFAULT_POLICY) -> Figures:
    return figures(day, facts, policy, EVERYTHING)


def flag_facts(*signs: tuple[FlagKind, int], clears: tuple[int, ...] = ()) -> PastFacts:
    return PastFacts({}, flags(*signs), clears)


def a_burst(kind: FlagKind, count: int, begin_ms: int, step_ms: int) -> tuple[tuple[FlagKind, int], ...]:
    return tuple((kind, begin_ms + number * step_ms) for number in range(count))


# Figures


@pytest.mark.parametrize(
    ("zone", "of"),
    [("Europe/Berlin", "2026-03-29"), ("Europe/Berlin", "2026-10-25"), ("Australia/Lord_Howe", "2026-04-05")],
)
def test_calls_of_days_around_a_clock_change_are_each_in_one_day(zone: str, of: str) -> None:
    middle = date.fromisoformat(of)
    days = [day_of(zone, middle + timedelta(days=number)) for number in (-1, 0, 1)]
    times = range(days[0].begin_ms, days[-1].end_ms, QUARTER_MS)
    counted = [seen(calls_at(*times), day).calls for day in days]
    assert counted == [(day.end_ms - day.begin_ms) // QUARTER_MS for day in days]
    assert sum(count or 0 for count in counted) == len(times)


def test_calls_are_those_of_the_day() -> None:
    facts = calls_at(D.begin_ms - 1, D.begin_ms, D.begin_ms + 5 * HOUR, D.end_ms - 1, D.end_ms)
    assert seen(facts).calls == 3


@pytest.mark.parametrize("shift", range(QUARTERS_A_DAY))
def test_calls_are_exact_at_whatever_quarter_hour_of_utc_a_day_begins(shift: int) -> None:
    begin_ms = utc("2026-06-05T00:00:00Z") + shift * QUARTER_MS
    facts = calls_at(*range(begin_ms - 3 * DAY, begin_ms + 4 * DAY, QUARTER_MS))
    for quarters in (1, QUARTERS_A_DAY - 1, QUARTERS_A_DAY, QUARTERS_A_DAY + 4):
        assert seen(facts, Day(date(2026, 6, 5), begin_ms, begin_ms + quarters * QUARTER_MS)).calls == quarters


def test_flags_are_counted_by_kind() -> None:
    facts = flag_facts(
        ("blocked", D.begin_ms - 1),
        ("spam_label", D.begin_ms),
        ("rejected", D.begin_ms + HOUR),
        ("rejected", D.begin_ms + HOUR),
        ("user_report", D.end_ms - 1),
        ("blocked", D.end_ms),
    )
    assert dict(zip(FLAG_KINDS, seen(facts).flags, strict=True)) == {
        "spam_label": 1,
        "blocked": 0,
        "user_report": 1,
        "rejected": 2,
    }


@pytest.mark.parametrize(
    ("signs", "clears", "hours"),
    [
        ([], [], 0),
        ([("spam_label", 2)], [], 6),
        ([("rejected", 2)], [], 0),
        ([("spam_label", -4)], [], 2),  # from the day before
        ([("spam_label", 20)], [], 4),  # into the next day
        ([("spam_label", 2), ("user_report", 3)], [], 6),  # the second: 2 h within the first
        ([("spam_label", 2), ("spam_label", 3)], [], 13),
        ([("blocked", 2)], [5], 3),
        ([("blocked", 2), ("user_report", 7)], [5], 4),  # cleared flags no longer count for later ones
        ([("blocked", 2)], [2], 0),
        ([("blocked", 2), ("blocked", 8)], [5, 10], 5),  # each clear ends its own rest
        ([("blocked", -30), ("blocked", 2)], [-25], 22),
        ([("blocked", -30)], [], 0),
        ([("blocked", -30), ("blocked", -29)], [], 19),
        ([("blocked", 30)], [], 0),
    ],
)
def test_resting_is_the_time_of_the_day_in_cooldown(
    signs: list[tuple[FlagKind, int]], clears: list[int], hours: int
) -> None:
    facts = flag_facts(
        *((kind, D.begin_ms + hour * HOUR) for kind, hour in signs),
        clears=tuple(D.begin_ms + hour * HOUR for hour in clears),
    )
    assert seen(facts).resting_seconds == hours * 3600


def test_resting_is_in_whole_seconds_rounded_down() -> None:
    assert seen(flag_facts(("blocked", D.end_ms - 1_999))).resting_seconds == 1
    assert seen(flag_facts(("blocked", D.end_ms - 2_000))).resting_seconds == 2


def rested_by_samples(facts: PastFacts, policy: Policy, day: Day, step_ms: int) -> int:
    """How many moments of the day are in cooldown, by the monitor's own rule and what was there by then."""
    rested = 0
    for at_ms in range(day.begin_ms, day.end_ms, step_ms):
        known_flags = [flag for flag in facts.flags if flag.at_ms <= at_ms]
        cleared = max((clear for clear in facts.clears if clear <= at_ms), default=None)
        rested += cooldown_until(known_flags, cleared, policy, at_ms) is not None
    return rested


@given(
    signs=st.lists(st.tuples(st.sampled_from(FLAG_KINDS), st.integers(-14 * 24, 26)), max_size=12),
    clears=st.lists(st.integers(-14 * 24, 26), max_size=4),
    policy=policies(),
)
@settings(max_examples=150, deadline=None)
def test_resting_is_the_measure_of_what_the_monitor_shows(
    signs: list[tuple[FlagKind, int]], clears: list[int], policy: Policy
) -> None:
    """In whole hours, so that samples measure exactly."""
    rounded = Policy(
        **{
            name: max(1, getattr(policy, name) // 3600) * 3600
            for name in (
                "cooldown_user_report_seconds",
                "cooldown_spam_label_seconds",
                "cooldown_blocked_seconds",
                "cooldown_window_seconds",
                "cooldown_cap_seconds",
            )
        }
    )
    facts = flag_facts(
        *((kind, D.begin_ms + hour * HOUR) for kind, hour in signs),
        clears=tuple(sorted({D.begin_ms + hour * HOUR for hour in clears})),
    )
    assert seen(facts, policy=rounded).resting_seconds == 3600 * rested_by_samples(facts, rounded, D, HOUR)


@given(histories(now_ms=D.end_ms - 5 * MINUTE, callers=(18,), bursts=False), policies())
@settings(max_examples=100, deadline=None)
def test_health_is_what_the_monitor_shows_at_midnight(events: list[object], policy: Policy) -> None:
    facts = past(facts_about(events))  # type: ignore[arg-type]  # hypothesis' own type
    earlier = [flag for flag in facts.flags if D.end_ms - 30 * DAY <= flag.at_ms < D.end_ms]
    figured = seen(facts, policy=policy)
    assert figured.health == health_score(figured.calls or 0, earlier, policy, D.end_ms)


def test_a_flag_counts_for_health_until_it_is_thirty_days_old() -> None:
    flagged_ms = D.end_ms - 30 * DAY
    assert seen(flag_facts(*a_burst("blocked", 63, flagged_ms, 0))).health == 92
    assert seen(flag_facts(*a_burst("blocked", 63, flagged_ms - 1, 0))).health == 100


@pytest.mark.parametrize("knows", [Known(*each) for each in product((True, False), repeat=4)])
def test_a_day_on_which_nothing_happened_has_the_figures_of_nothing(knows: Known) -> None:
    assert figures(D, PastFacts({}), DEFAULT_POLICY, knows) == nothing(knows)
    assert nothing(EVERYTHING) == NOTHING


# What can't be known


def test_figures_that_the_facts_do_not_cover_are_not_given() -> None:
    facts = flag_facts(("spam_label", D.begin_ms))
    assert figures(D, facts, DEFAULT_POLICY, NOTHING_KNOWN) == nothing(NOTHING_KNOWN)
    assert figures(D, facts, DEFAULT_POLICY, EVERYTHING._replace(calls=False)).health is None
    assert figures(D, facts, DEFAULT_POLICY, EVERYTHING._replace(calls=False), calls=57).calls == 57


@pytest.mark.parametrize(
    ("since_ms", "expected"),
    [
        (D.begin_ms - 14 * DAY, Known(calls=True, flags=True, resting=True, health=False)),
        (D.begin_ms - 14 * DAY + 1, Known(calls=True, flags=True, resting=False, health=False)),
        (D.end_ms - 30 * DAY, EVERYTHING),
        (D.begin_ms, Known(calls=True, flags=True, resting=False, health=False)),
        (D.begin_ms + 1, NOTHING_KNOWN),
    ],
)
def test_each_figure_needs_facts_that_reach_far_enough_back(since_ms: int, expected: Known) -> None:
    assert known(D, DEFAULT_POLICY, Coverage(since_ms, since_ms)) == expected


def test_a_figure_on_record_is_never_overwritten_by_less() -> None:
    old = Figures(57, (1, 2, None, 0), 3600, 80)
    assert completed(nothing(NOTHING_KNOWN), old) == old
    assert completed(Figures(58, (None, 3, 4, None), None, 70), old) == Figures(58, (1, 3, 4, 0), 3600, 70)
    new = Figures(0, (0, 0, 0, 1), 0, 0)
    assert completed(new, old) == new


def test_more_flags_than_are_kept_are_not_a_number() -> None:
    kept = MAX_FLAGS_OF_A_KIND
    assert seen(flag_facts(*a_burst("rejected", kept, D.begin_ms - 1, MINUTE))).flags[3] == kept - 1
    assert seen(flag_facts(*a_burst("rejected", kept, D.begin_ms, MINUTE))).flags == (0, 0, 0, None)
    assert seen(flag_facts(*a_burst("rejected", kept, D.end_ms, MINUTE))).flags[3] is None


def test_a_number_that_rests_whatever_is_not_kept_rests_all_day() -> None:
    facts = flag_facts(*a_burst("user_report", MAX_FLAGS_OF_A_KIND, D.begin_ms - 10 * DAY, 4 * HOUR))
    assert seen(facts).resting_seconds == 86_400
    later = flag_facts(*a_burst("user_report", MAX_FLAGS_OF_A_KIND, D.begin_ms + 12 * HOUR, MINUTE))
    assert seen(later).resting_seconds is None, "the rest of the morning is not known"
    cleared_since = PastFacts({}, later.flags, (D.begin_ms - 1,))
    assert seen(cleared_since).resting_seconds is None


def test_rejected_calls_that_are_not_kept_leave_resting_known() -> None:
    rejected = a_burst("rejected", MAX_FLAGS_OF_A_KIND, D.begin_ms + HOUR, SECOND)
    assert seen(flag_facts(*rejected, ("spam_label", D.begin_ms + 2 * HOUR))).resting_seconds == 6 * 3600


def test_flags_that_are_not_kept_matter_for_the_longest_rest_and_the_window() -> None:
    policy = Policy(cooldown_cap_seconds=24 * 3600)
    later = a_burst("user_report", MAX_FLAGS_OF_A_KIND - 1, D.end_ms, MINUTE)

    def rested(lost_to_ms: int, *signs: tuple[FlagKind, int]) -> int | None:
        return seen(flag_facts(("user_report", lost_to_ms), *signs, *later), policy=policy).resting_seconds

    assert rested(D.begin_ms - 24 * HOUR) == 0
    assert rested(D.begin_ms - 24 * HOUR + 1) is None
    label: tuple[FlagKind, int] = ("spam_label", D.begin_ms + 2 * HOUR)
    assert rested(label[1] - 7 * DAY, label) == 6 * 3600
    assert rested(label[1] - 7 * DAY + 1, label) is None


def test_more_clears_than_are_kept_leave_resting_unknown() -> None:
    clears = tuple(D.begin_ms + number * SECOND for number in range(MAX_CLEARS))
    facts = flag_facts(("blocked", D.begin_ms - HOUR), clears=clears)
    assert seen(facts).resting_seconds is None
    assert seen(PastFacts({}, facts.flags, clears[1:])).resting_seconds == 1


def test_clears_that_are_not_kept_matter_for_a_rest_and_its_window() -> None:
    facts = flag_facts(("blocked", D.end_ms - HOUR))
    early_ms = D.begin_ms - 14 * DAY
    for first_ms, expected in ((early_ms, 3600), (early_ms + 1, None)):
        clears = tuple(first_ms + number * SECOND for number in range(MAX_CLEARS))
        assert seen(PastFacts({}, facts.flags, clears)).resting_seconds == expected


def test_health_that_flags_could_change_that_are_not_kept_is_not_given() -> None:
    kept = MAX_FLAGS_OF_A_KIND
    assert seen(flag_facts(*a_burst("spam_label", kept, D.end_ms, MINUTE))).health is None
    # One flag at the very beginning of the 30 days, and so many that are not kept, or none.
    after = a_burst("spam_label", kept - 1, D.end_ms, MINUTE)
    assert seen(flag_facts(("spam_label", D.end_ms - 30 * DAY), *after)).health is None
    assert seen(flag_facts(("spam_label", D.end_ms - 30 * DAY - 1), *after)).health == 100


def test_health_that_flags_could_not_change_that_are_not_kept_is_given() -> None:
    kept = MAX_FLAGS_OF_A_KIND
    assert seen(flag_facts(*a_burst("spam_label", kept, D.end_ms - 32 * MINUTE, MINUTE))).health == 0
    # The newest 64 of a kind are all that count.
    assert seen(flag_facts(*a_burst("rejected", kept, D.end_ms - 29 * DAY, MINUTE))).health == 99
    # What came after midnight and is not kept could count with at most its weight then, which is next to nothing here.
    light = Policy(severity_rejected=0.0001)
    assert seen(flag_facts(*a_burst("rejected", kept, D.end_ms + 6 * DAY, MINUTE)), policy=light).health == 100


def test_flags_that_are_not_kept_weigh_no_more_than_at_the_end_of_the_day() -> None:
    harmless = Policy(severity_rejected=0.0001)  # 64 of them at midnight do not change a health of 100
    later = a_burst("rejected", MAX_FLAGS_OF_A_KIND, D.end_ms + 30 * DAY, MINUTE)
    assert seen(flag_facts(*later), policy=harmless).health == 100


@pytest.mark.parametrize("kind", FLAG_KINDS)
def test_health_is_not_given_whichever_kind_is_not_kept(kind: FlagKind) -> None:
    """The other kinds have as many flags, all of them old."""
    others = [a_burst(other, MAX_FLAGS_OF_A_KIND, D.end_ms - 29 * DAY, 0) for other in FLAG_KINDS if other != kind]
    facts = flag_facts(*(sign for other in others for sign in other))
    assert seen(facts).health is not None
    # From before the others: it is the first that is looked at.
    after = a_burst(kind, MAX_FLAGS_OF_A_KIND - 1, D.end_ms, MINUTE)
    for first_ms in (D.end_ms - 29 * DAY - 1, D.end_ms - 29 * DAY + 1):
        mixed = tuple(sorted((*facts.flags, *flags((kind, first_ms), *after))))
        assert seen(PastFacts({}, mixed)).health is None


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_what_is_not_kept_never_makes_a_figure_wrong(data: st.DataObject) -> None:
    """A figure from the newest 64 of each kind is the one from all flags, or none."""
    step = data.draw(st.sampled_from([MINUTE, HOUR, 3 * HOUR, 6 * HOUR]))
    count = data.draw(st.integers(60, 200))
    last = D.end_ms + data.draw(st.integers(-48, 48)) * HOUR
    kind = data.draw(st.sampled_from(FLAG_KINDS))
    every = tuple(Flag(last - number * step, number, kind) for number in reversed(range(count)))
    clears = tuple(sorted(data.draw(st.sets(st.integers(D.begin_ms - 3 * DAY, D.end_ms), max_size=2))))
    told = seen(PastFacts({}, every[-MAX_FLAGS_OF_A_KIND:], clears))
    # The truth knows no limit, but for health, of which the newest 64 before midnight are the definition.
    unlimited = flags_without_limit(every, clears)
    place = FLAG_KINDS.index(kind)
    assert told.flags[place] in (None, unlimited.flags[place])
    assert told.resting_seconds in (None, unlimited.resting_seconds)
    assert told.health in (None, unlimited.health)


def flags_without_limit(every: tuple[Flag, ...], clears: tuple[int, ...]) -> Figures:
    """The figures by the plain definitions."""
    counts = [0] * len(FLAG_KINDS)
    for flag in every:
        counts[FLAG_KINDS.index(flag.kind)] += D.begin_ms <= flag.at_ms < D.end_ms
    facts = PastFacts({}, every, clears)
    edges = sorted({D.begin_ms, D.end_ms, *clears, *(flag.at_ms for flag in every)} | ends(every, clears))
    inside = [edge for edge in edges if D.begin_ms <= edge <= D.end_ms]
    rested = sum(
        after - before
        for before, after in pairwise(inside)
        if rested_by_samples(facts, DEFAULT_POLICY, Day(D.date, before, before + 1), 1)
    )
    before = [flag for flag in every if D.end_ms - 30 * DAY <= flag.at_ms < D.end_ms][-MAX_FLAGS_OF_A_KIND:]
    first, second, third, fourth = counts
    health = health_score(0, before, DEFAULT_POLICY, D.end_ms)
    return Figures(0, (first, second, third, fourth), rested // 1000, health)


def ends(every: tuple[Flag, ...], clears: tuple[int, ...]) -> set[int]:
    """Every moment at which a cooldown could end."""
    found = set()
    for flag in every:
        cleared = max((clear for clear in clears if clear < flag.at_ms), default=None)
        until = cooldown_until([one for one in every if one.at_ms <= flag.at_ms], cleared, DEFAULT_POLICY, flag.at_ms)
        found |= {until} if until is not None else set()
    return found
