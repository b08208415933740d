"""Merges messages of the change channel into facts, in any order and any number of times.

Counters only grow and flags are only added, so the greater count and the union of flags are always right.
"""

from array import array
from collections.abc import Sequence

from rotary.domain.facts import NO_FACTS, QUARTERS_A_DAY, CallerFacts, merge_flags
from rotary.redis.changes import CustomerFacts, read_flags
from rotary.redis.facts import COUNTER

_DAYS_KEPT = 4  # one more than readers need: yesterday, today, tomorrow


class _Counts(array):  # type: ignore[type-arg]  # of int
    """A day's counters, copied from the facts that were read. They may be changed in place."""


def merge_change(facts: dict[int, CallerFacts], change: CustomerFacts) -> bool:
    """Merges a change into `facts`, for callers with an entry there. Returns whether there were any."""
    touched = False
    for name, day, counts in change.calls:
        if (known := facts.get(caller := int(name))) is not None:
            facts[caller] = counted(known, day, counts)
            touched = True
    for name, document in change.flags:
        if (known := facts.get(caller := int(name))) is not None:
            flags, cleared_at_ms = read_flags(document)
            cleared = max(known.cleared_at_ms or 0, cleared_at_ms or 0) or None
            facts[caller] = CallerFacts(known.calls, merge_flags(known.flags, flags), cleared)
            touched = True
    return touched


def counted(known: CallerFacts, day: int, counts: Sequence[int]) -> CallerFacts:
    """The facts with [quarter, count, ...] of a UTC day merged. A count below the known one is from an older message.

    The first change of a day copies its counters. Later changes are made in place.
    """
    quarters = known.calls.get(day, ())
    if not isinstance(quarters, _Counts):
        quarters = _Counts(COUNTER, [*quarters, *[0] * (QUARTERS_A_DAY - len(quarters))])
        days = {**known.calls, day: quarters}
        kept = sorted(days)[-_DAYS_KEPT:]
        known = CallerFacts({day: days[day] for day in kept}, known.flags, known.cleared_at_ms)
    for at in range(0, len(counts), 2):
        quarter = counts[at]
        quarters[quarter] = max(quarters[quarter], counts[at + 1])
    return known


def bytes_held(facts: dict[int, CallerFacts]) -> int:
    """The approximate memory use of these facts."""
    held = 0
    for caller_facts in facts.values():
        if caller_facts is not NO_FACTS:
            held += 500 + 900 * len(caller_facts.calls) + 150 * len(caller_facts.flags)
    return held
