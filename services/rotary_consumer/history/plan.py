"""What one sweep over a customer's caller IDs does: which days it looks at, and what it writes for each caller ID."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import NamedTuple

from msgspec import Struct

from rotary.domain.history import (
    Coverage,
    Day,
    Figures,
    Known,
    PastFacts,
    completed,
    figures,
    is_over,
    known,
    nothing,
    utc_days,
)
from rotary.policy import Policy
from rotary.postgres.history import CustomerDay, DayProgress, Key


class DayPlan(Struct, frozen=True):
    """One day of a sweep.

    `knows` is what the facts can tell now, of which `calls` is false once they are final. `knew` is what was known
    before. `closes_calls` and `closes` say that this sweep is the last one that can change anything.
    """

    day: Day
    policy: Policy
    knows: Known
    knew: Known
    closes_calls: bool
    closes: bool

    @property
    def is_for_everyone(self) -> bool:
        """Whether all caller IDs are looked at, and not only those whose flags changed."""
        is_new = any(can and not could for can, could in zip(self.knows, self.knew, strict=True))
        return is_new or self.knows.calls or self.closes

    def progress(self) -> DayProgress:
        """What is on record once the sweep is complete."""
        knew = Known(*map(any, zip(self.knows, self.knew, strict=True)))
        return DayProgress(self.day.date, knew, self.closes_calls, self.closes)


def plan_days(days: Iterable[CustomerDay], coverage: Coverage, now_ms: int) -> list[DayPlan]:
    """The days that can still change, ascending."""
    return [_plan(one, coverage, now_ms) for one in days if not one.final]


def _plan(one: CustomerDay, coverage: Coverage, now_ms: int) -> DayPlan:
    knows = known(one.day, one.policy, coverage)
    knows = knows._replace(calls=knows.calls and not one.calls_final)
    closes_calls = knows.calls and is_over(one.day, "calls", now_ms)
    # A day whose calls were never known has nothing to wait for.
    settled = one.calls_final or closes_calls or not (knows.calls or one.knew.calls)
    closes = settled and all(knows[1:]) and is_over(one.day, "flags", now_ms)
    return DayPlan(one.day, one.policy, knows, one.knew, closes_calls, closes)


class Changes(NamedTuple):
    """What to write for some caller IDs."""

    rows: dict[Key, Figures]
    gone: list[Key]


class Plan:
    """The days of one sweep, and what its batches have in common."""

    def __init__(self, days: Sequence[DayPlan], flags_version: int) -> None:
        self.days = days
        self._flags_version = flags_version
        self._for_everyone = [day for day in days if day.is_for_everyone]
        self._counted = [day for day in days if day.knows.calls]
        self.utc_days = utc_days(day.day for day in days if day.knows.calls)
        # Where the facts can't tell everything, what they can tell is added to what is on record.
        self._is_partial = any(not all(day.knows) for day in self._counted)

    def is_covered(self, coverage: Coverage) -> bool:
        """Whether facts with this coverage tell all that this plan expects of them."""
        return all(
            could or not can
            for day in self.days
            for can, could in zip(day.knows, known(day.day, day.policy, coverage), strict=True)
        )

    def needs_record(self, facts: Mapping[int, PastFacts]) -> list[int]:
        """The caller IDs of which what is on record must be read first."""
        return [row for row, one in facts.items() if one.flags or one.clears or (self._is_partial and one.calls)]

    def dates(self) -> list[date]:
        """The dates of all days."""
        return [day.day.date for day in self.days]

    def changes(
        self, facts: Mapping[int, PastFacts], flag_versions: Mapping[int, int], record: Mapping[Key, Figures]
    ) -> Changes:
        """What to write for these caller IDs: a function of the facts, the days on record, and their policies."""
        found = Changes({}, [])
        for caller, one in facts.items():
            for day in self._days_of(one, flag_versions.get(caller, 0)):
                _add(found, caller, day, one, record)
        return found

    def _days_of(self, facts: PastFacts, flag_version: int) -> Sequence[DayPlan]:
        """The days on which these facts can make a difference."""
        if not (facts.flags or facts.clears):
            return self._counted if facts.calls else ()
        return self.days if flag_version >= self._flags_version else self._for_everyone


def _add(found: Changes, caller: int, day: DayPlan, facts: PastFacts, record: Mapping[Key, Figures]) -> None:
    key = (caller, day.day.date)
    stored = record.get(key)
    old = stored or nothing(day.knew)
    new = completed(figures(day.day, facts, day.policy, day.knows, old.calls), old)
    if new == nothing(day.progress().knew):
        if stored is not None:
            found.gone.append(key)
    elif new != stored:
        found.rows[key] = new
