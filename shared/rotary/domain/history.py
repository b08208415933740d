"""History: what a caller ID did on the finished days of its customer's calendar, from facts.

A figure is None when the facts can't tell it any more: a number that is too low is never given for one that is unknown.
docs/history.md defines each figure, and says when it is final.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from rotary.domain.cooldown import rests
from rotary.domain.facts import (
    COUNT_BYTES,
    DAY_MS,
    MAX_CLEARS,
    MAX_FLAGS_OF_A_KIND,
    QUARTER_MS,
    QUARTERS_A_DAY,
    DayCounts,
    Flag,
    total,
)
from rotary.domain.health import health_score
from rotary.domain.quota import calendar_day, local_date
from rotary.events import FLAG_KINDS, MAX_AHEAD_MS, FlagKind, LogKind, max_age_ms
from rotary.policy import Policy

HISTORY_DAYS = 35
"""How many days are kept for readers, yesterday included."""
HEALTH_LOOKBACK_MS = 30 * DAY_MS
"""Flags that are older at the end of a day no longer count for its health."""
MARGIN_MS = MAX_AHEAD_MS + 600_000
"""An event may be five minutes older than its own time, and an arrival marker ten minutes late."""

SWEEPS_MS = (15_000, 65 * 60_000)
"""How long after midnight a day is rolled up, and again. Events that are up to an hour late are in the second."""

FlagCounts = tuple[int | None, int | None, int | None, int | None]
"""Flags by kind, in the order of FLAG_KINDS."""


class Day(Struct, frozen=True):
    """A customer's calendar day in UTC milliseconds, from `begin_ms` to before `end_ms`; both are quarter hours."""

    date: date
    begin_ms: int
    end_ms: int


class PastFacts(Struct, frozen=True):
    """The facts about one caller ID as its history needs them. `flags` and `clears` ascend."""

    calls: DayCounts
    flags: tuple[Flag, ...] = ()
    clears: tuple[int, ...] = ()


class Coverage(Struct, frozen=True):
    """All events since these own times, UTC milliseconds, are in the facts: calls, and flags and clears."""

    calls_from_ms: int
    flags_from_ms: int


class Known(NamedTuple):
    """Which figures of a day the facts can tell; `health` apart from the day's calls."""

    calls: bool
    flags: bool
    resting: bool
    health: bool


class Figures(NamedTuple):
    """One caller ID on one day. docs/history.md defines them."""

    calls: int | None
    flags: FlagCounts
    resting_seconds: int | None
    health: int | None


NOTHING = Figures(0, (0, 0, 0, 0), 0, 100)
"""The figures of a caller ID that did nothing, and has nothing against it."""
UNKNOWN_FLAGS: FlagCounts = (None, None, None, None)


def day_of(timezone: str, of: date) -> Day:
    """A calendar day of a zone."""
    first, after = calendar_day(timezone, of)
    return Day(of, first * QUARTER_MS, after * QUARTER_MS)


def days_to_add(last: Day | None, timezone: str, now_ms: int, calls_from_ms: int) -> list[Day]:
    """The days that have ended since `last`, the latest one on record, ascending.

    A day begins where the one before it ended, also after the customer's zone changed: so no call is in two days or in
    none. With nothing on record, history begins with the first day of which all calls are known.
    """
    yesterday = local_date(timezone, now_ms) - timedelta(days=1)
    first = yesterday - timedelta(days=HISTORY_DAYS - 1)
    if last is not None:
        first = max(first, last.date + timedelta(days=1))
    added: list[Day] = []
    for number in range((yesterday - first).days + 1):
        day = day_of(timezone, first + timedelta(days=number))
        if last is not None and last.date + timedelta(days=1) == day.date:
            day = Day(day.date, last.end_ms, max(last.end_ms, day.end_ms))
        elif last is None and day.begin_ms < calls_from_ms:
            continue
        added.append(day)
        last = day
    return added


def due_ms(timezone: str, now_ms: int) -> int:
    """The last moment at which a customer's days were to be rolled up."""
    today = local_date(timezone, now_ms)
    midnights = (day_of(timezone, today - timedelta(days=ago)).begin_ms for ago in (1, 0))
    return max(at_ms for midnight in midnights for after in SWEEPS_MS if (at_ms := midnight + after) <= now_ms)


def known(day: Day, policy: Policy, coverage: Coverage) -> Known:
    """Which figures of a day facts with this coverage can tell."""
    since = coverage.flags_from_ms
    return Known(
        coverage.calls_from_ms <= day.begin_ms,
        since <= day.begin_ms,
        since <= day.begin_ms - _resting_lookback_ms(policy),
        since <= day.end_ms - HEALTH_LOOKBACK_MS,
    )


def is_over(day: Day, kind: LogKind, now_ms: int) -> bool:
    """Whether no event of this kind can still change the day: it would be refused as too old."""
    return now_ms >= day.end_ms + max_age_ms(kind) + MARGIN_MS


def figures(day: Day, facts: PastFacts, policy: Policy, knows: Known, calls: int | None = None) -> Figures:
    """The figures of a day. `calls` are those on record, for a day whose counters are gone."""
    if knows.calls:
        calls = _calls(day, facts.calls)
    by_kind: dict[FlagKind, list[Flag]] = {}
    for flag in facts.flags:
        by_kind.setdefault(flag.kind, []).append(flag)
    return Figures(
        calls,
        _counts(day, by_kind) if knows.flags else UNKNOWN_FLAGS,
        _resting_seconds(day, facts, by_kind, policy) if knows.resting else None,
        _health(day, by_kind, policy, calls) if knows.health and calls is not None else None,
    )


def completed(new: Figures, old: Figures) -> Figures:
    """What the facts can tell now, and for the rest what is on record: it is never overwritten by less."""
    first, second, third, fourth = map(_completed, new.flags, old.flags)
    return Figures(
        _completed(new.calls, old.calls),
        (first, second, third, fourth),
        _completed(new.resting_seconds, old.resting_seconds),
        _completed(new.health, old.health),
    )


def nothing(knew: Known) -> Figures:
    """What it means that there is no record of a caller ID on a day of which this was known: nothing happened."""
    return Figures(
        0 if knew.calls else None,
        NOTHING.flags if knew.flags else UNKNOWN_FLAGS,
        0 if knew.resting else None,
        100 if knew.health and knew.calls else None,
    )


def utc_days(days: Iterable[Day]) -> list[int]:
    """The UTC days that these days touch, ascending."""
    return sorted({utc for day in days for utc in _utc_days(day)})


def _utc_days(day: Day) -> range:
    return range(day.begin_ms // DAY_MS, (day.end_ms - QUARTER_MS) // DAY_MS + 1)


def _calls(day: Day, counts: DayCounts) -> int:
    first, after = day.begin_ms // QUARTER_MS, day.end_ms // QUARTER_MS
    calls = 0
    for utc in _utc_days(day):
        begin = utc * QUARTERS_A_DAY
        calls += total(counts.get(utc, b"")[max(first - begin, 0) * COUNT_BYTES : (after - begin) * COUNT_BYTES])
    return calls


def _resting_lookback_ms(policy: Policy) -> int:
    """How long before a day a flag can have come that matters for its resting: the longest rest, and what counts."""
    return (policy.cooldown_cap_seconds + policy.cooldown_window_seconds) * 1000


def _completed(new: int | None, old: int | None) -> int | None:
    return old if new is None else new


def _lost_up_to(kept: Sequence[Flag]) -> Flag | None:
    """Flags of one kind up to this one may be more than are kept; None if all are kept."""
    return kept[0] if len(kept) >= MAX_FLAGS_OF_A_KIND else None


def _counts(day: Day, by_kind: Mapping[FlagKind, Sequence[Flag]]) -> FlagCounts:
    if not by_kind:
        return NOTHING.flags
    first, second, third, fourth = (_count(by_kind.get(kind, ()), day) for kind in FLAG_KINDS)
    return first, second, third, fourth


def _count(kept: Sequence[Flag], day: Day) -> int | None:
    lost_up_to = _lost_up_to(kept)
    if lost_up_to is not None and lost_up_to.at_ms >= day.begin_ms:
        return None
    return sum(day.begin_ms <= flag.at_ms < day.end_ms for flag in kept)


def _resting_seconds(
    day: Day, facts: PastFacts, by_kind: Mapping[FlagKind, Sequence[Flag]], policy: Policy
) -> int | None:
    if not facts.flags:
        return 0
    since_ms = day.begin_ms - _resting_lookback_ms(policy)
    if len(facts.clears) >= MAX_CLEARS and facts.clears[0] > since_ms:
        return None
    least = _measure(rests(facts.flags, facts.clears, policy), day)
    lost = [_lost_up_to(kept) for kind, kept in by_kind.items() if kind != "rejected"]
    lost_up_to = max((flag for flag in lost if flag is not None), default=None)
    if lost_up_to is not None and least != _measure(_longest_rests(day, facts, policy, lost_up_to), day):
        return None
    return least // 1000


def _longest_rests(day: Day, facts: PastFacts, policy: Policy, lost_up_to: Flag) -> Iterable[tuple[int, int]]:
    """The longest rests that are possible when flags up to one are not kept.

    Any moment before that one may have been in a rest. 64 more flags at its time get the longest cooldown, and so does
    each later flag that they count for.
    """
    worst = [*facts.flags, *[lost_up_to] * MAX_FLAGS_OF_A_KIND]
    return [(day.begin_ms, lost_up_to.at_ms), *rests(sorted(worst), facts.clears, policy)]


def _measure(spans: Iterable[tuple[int, int]], day: Day) -> int:
    """The milliseconds of the day that lie in any of the spans, which ascend by their beginnings."""
    total, reached = 0, day.begin_ms
    for begin, until in spans:
        total += max(0, min(until, day.end_ms) - max(begin, reached))
        reached = max(reached, until)
    return total


def _health(day: Day, by_kind: Mapping[FlagKind, Sequence[Flag]], policy: Policy, calls: int) -> int | None:
    """The health at the end of the day; None when flags that are not kept could change it."""
    begin_ms = day.end_ms - HEALTH_LOOKBACK_MS
    counted, lost = [], []
    for kept in by_kind.values():
        before = [flag for flag in kept if begin_ms <= flag.at_ms < day.end_ms]
        counted += before
        lost_up_to = _lost_up_to(kept)
        if lost_up_to is not None and lost_up_to.at_ms >= begin_ms:
            # As in the monitor, the newest 64 of a kind count: so many that are not kept may be among them.
            worst = replace(lost_up_to, at_ms=min(lost_up_to.at_ms, day.end_ms))
            lost += [worst] * (MAX_FLAGS_OF_A_KIND - len(before))
    health = health_score(calls, sorted(counted), policy, day.end_ms)
    return health if not lost or health == health_score(calls, sorted(counted + lost), policy, day.end_ms) else None
