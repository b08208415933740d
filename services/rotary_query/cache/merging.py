"""Merges messages of the change channel into facts, in any order and any number of times.

Counters only grow and flags are only added, so the greater count and the union of flags are always right.
"""

import struct
from collections.abc import Mapping, Sequence

from rotary.domain.facts import COUNT_BYTES, DAY_BYTES, GroupFacts, merge_flags
from rotary.domain.quota import days_read
from rotary.redis.changes import CustomerFacts, read_flags

DAYS_KEPT = 3
"""So many UTC days may be shown, or soon: see `days_read`."""
_COUNT = struct.Struct(">I")


def merge_change(facts: GroupFacts, rows: Mapping[int, int], change: CustomerFacts) -> None:
    """Merges a change into `facts`, for callers with a row there."""
    for name, day, counts in change.calls:
        if (row := rows.get(int(name))) is not None:
            _count(facts, row, day, counts)
    for name, document in change.flags:
        if (row := rows.get(int(name))) is not None:
            (known, known_ms), (flags, cleared_ms) = facts.flags[row], read_flags(document)
            facts.flags[row] = merge_flags(known, flags), max(known_ms or 0, cleared_ms or 0) or None


def _count(facts: GroupFacts, row: int, day: int, counts: Sequence[int]) -> None:
    """Merges [quarter, count, ...] of a UTC day. A count below the known one is from an older message.

    The first change of a row's day copies its counters. Later changes are made in place.
    """
    column = facts.calls.get(day)
    if column is None:
        column = facts.calls[day] = [None] * len(facts.flags)
    quarters = column[row]
    if not isinstance(quarters, bytearray):
        quarters = column[row] = bytearray((quarters or b"").ljust(DAY_BYTES, b"\0"))
    for at in range(0, len(counts), 2):
        place, calls = counts[at] * COUNT_BYTES, counts[at + 1]
        if calls > _COUNT.unpack_from(quarters, place)[0]:
            _COUNT.pack_into(quarters, place, calls)


def forget_days(facts: GroupFacts, now_ms: int) -> None:
    """Forgets the UTC days of which nothing is shown from `now_ms` on."""
    first = days_read(now_ms).start
    for day in [day for day in facts.calls if day < first]:
        del facts.calls[day]


def bytes_held(facts: GroupFacts) -> int:
    """The approximate memory use of these facts."""
    counts = sum(len(column) - column.count(None) for column in facts.calls.values())
    return 500 * counts + 150 * sum(len(flags) for flags, _ in facts.flags)
