"""Merging what the change channel says into facts that were read: order and repetition do not matter.

Counters only grow and flags only add up, so the greater count and the union of flags are always right.
"""

from array import array
from collections.abc import Sequence

from rotary.domain.facts import NO_FACTS, QUARTERS_A_DAY, CallerFacts, merge_flags
from rotary.redis.changes import CustomerFacts, read_flags
from rotary.redis.facts import COUNTER

_DAYS_KEPT = 4  # more than any reader looks at: yesterday, today, tomorrow


class _Counts(array):  # type: ignore[type-arg]  # of int
    """A day's counters that were copied from what was read, to be changed in place."""


def merge_change(facts: dict[int, CallerFacts], change: CustomerFacts) -> bool:
    """Merges a change into the facts of those callers that have an entry; whether there were any."""
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
    """With [quarter, count, ...] of a UTC day taken in; a count lower than the known one is an older message.

    What was read is left as it is; a day that changed before is changed in place.
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
    """About how much memory these facts take."""
    held = 0
    for caller_facts in facts.values():
        if caller_facts is not NO_FACTS:
            held += 500 + 900 * len(caller_facts.calls) + 150 * len(caller_facts.flags)
    return held
