"""Merges messages of the change channel into facts, in any order and any number of times.

Counters only grow and flags are only added, so the greater count and the union of flags are always right.
"""

import struct
from collections.abc import Sequence

from rotary.domain.facts import COUNT_BYTES, DAY_BYTES, NO_FACTS, CallerFacts, merge_flags
from rotary.redis.changes import CustomerFacts, read_flags

_DAYS_KEPT = 4  # one more than readers need: yesterday, today, tomorrow
_COUNT = struct.Struct(">I")


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
    quarters = known.calls.get(day, b"")
    if not isinstance(quarters, bytearray):
        quarters = bytearray(quarters.ljust(DAY_BYTES, b"\0"))
        days = {**known.calls, day: quarters}
        kept = sorted(days)[-_DAYS_KEPT:]
        known = CallerFacts({day: days[day] for day in kept}, known.flags, known.cleared_at_ms)
    for at in range(0, len(counts), 2):
        place, calls = counts[at] * COUNT_BYTES, counts[at + 1]
        if calls > _COUNT.unpack_from(quarters, place)[0]:
            _COUNT.pack_into(quarters, place, calls)
    return known


def bytes_held(facts: dict[int, CallerFacts]) -> int:
    """The approximate memory use of these facts."""
    held = 0
    for caller_facts in facts.values():
        if caller_facts is not NO_FACTS:
            held += 300 + 500 * len(caller_facts.calls) + 150 * len(caller_facts.flags)
    return held
