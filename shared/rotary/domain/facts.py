"""The facts about one caller ID, and their merge: a union of sets, which no order, repetition or batching changes.

This code is the oracle of the Redis function, which stores the same sets in less space. Both rely on CloudEvents: one
(source, id) names one event. A source that retries an event with another time breaks this rule. Then the earliest
quarter hour counts here, and the first to arrive counts in Redis: once within one UTC day in both.
"""

import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from msgspec import Struct

from rotary.events import CallPlaced, CarrierFlag, CooldownCleared, Event, FlagKind, identity

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
QUARTER_S, QUARTER_MS = 900, 900_000
DAY_MS = 86_400_000
QUARTERS_A_DAY = 96
MAX_FLAGS_OF_A_KIND = 64
"""How many flags of each kind are kept for a caller ID: the newest. No kind displaces another."""
MAX_CLEARS = 64
"""How many clears are kept, the newest. Only the last one counts now; history needs the others."""

COUNT_BYTES = 4
DAY_BYTES = QUARTERS_A_DAY * COUNT_BYTES
Counts = bytes | bytearray
"""The calls in each quarter hour of a UTC day, as Redis keeps them: unsigned integers of 32 bits, big-endian. Zeros at
the end may be missing."""
DayCounts = Mapping[int, Counts]
"""UTC day (days since 1970-01-01) → its counts."""
SUM_MODULUS = 0xFFFF_FFFF // 5
LARGE_COUNTS = int.from_bytes(b"\xff\x80\0\0" * QUARTERS_A_DAY)
"""The bits that no count below 2^23 has. See `total`."""


class Flag(Struct, frozen=True, order=True, array_like=True, gc=False):
    """One flag. Flags are ordered by time, then by identity."""

    at_ms: int
    identity: int
    kind: FlagKind


Flags = tuple[tuple[Flag, ...], int | None]
"""The flags of a caller ID, ascending, and its last clear in UTC milliseconds."""
NO_FLAGS: Flags = ((), None)


class CallerFacts(Struct, frozen=True, gc=False):
    """The facts about one caller ID as a reader needs them: counts without identities. `flags` ascend."""

    calls: DayCounts
    flags: tuple[Flag, ...] = ()
    cleared_at_ms: int | None = None


NO_FACTS = CallerFacts({})


class GroupFacts(Struct, frozen=True):
    """The facts about the members of a group, in columns with a row for each, in the group's order.

    Redis answers in columns, so nothing has to be made for each member before it is shown.
    """

    calls: dict[int, list[Counts | None]]
    """UTC day → its counts, by row. None where there were no calls."""
    flags: list[Flags]

    @classmethod
    def of(cls, callers: Sequence[int], facts: Mapping[int, CallerFacts]) -> "GroupFacts":
        """From facts by caller ID, which may omit some."""
        rows = [facts.get(caller, NO_FACTS) for caller in callers]
        days = {day for row in rows for day in row.calls}
        return cls(
            {day: [row.calls.get(day) for row in rows] for day in days},
            [(row.flags, row.cleared_at_ms) for row in rows],
        )


class Facts(Struct, frozen=True):
    """The facts about one caller ID, with identities. `calls` maps (UTC day, identity) to a quarter hour since 1970.

    `clears` are the times of the clears, ascending.
    """

    calls: Mapping[tuple[int, int], int] = {}
    flags: tuple[Flag, ...] = ()
    clears: tuple[int, ...] = ()

    @property
    def cleared_at_ms(self) -> int | None:
        """The last clear."""
        return self.clears[-1] if self.clears else None

    def caller_facts(self) -> CallerFacts:
        """The same facts for a reader."""
        days: dict[int, list[int]] = {}
        for (day, _), quarter in self.calls.items():
            days.setdefault(day, [0] * QUARTERS_A_DAY)[quarter % QUARTERS_A_DAY] += 1
        counts = {day: pack_counts(quarters) for day, quarters in days.items()}
        return CallerFacts(counts, self.flags, self.cleared_at_ms)


def pack_counts(quarters: Sequence[int]) -> bytes:
    """The counts of a day's first quarter hours."""
    return struct.pack(f">{len(quarters)}I", *quarters)


def unpack_counts(counts: Counts) -> tuple[int, ...]:
    """The calls in each quarter hour. Zeros at the end may be missing."""
    return struct.unpack(f">{len(counts) // COUNT_BYTES}I", counts)


def total(counts: Counts) -> int:
    """The sum of the counts of a day, or of a part of one.

    A number and the sum of its digits in base b leave the same remainder by b - 1 and by its divisors (casting out
    nines and threes, where b is 10): the sum itself, if that is less than the divisor. The counts are the digits of one
    number in base 2^32, and 96 of them below 2^23 have a sum below (2^32 - 1) / 5. That is the largest divisor which
    CPython holds in one digit of its own, of 30 bits: by these it divides without the steps of a long division.
    """
    number = int.from_bytes(counts)
    return sum(unpack_counts(counts)) if number & LARGE_COUNTS else number % SUM_MODULUS


def event_ms(event: Event) -> int:
    """The event's own time in UTC milliseconds, rounded down."""
    return time_ms(event.time)


def time_ms(time: datetime) -> int:
    """UTC milliseconds, rounded down."""
    since = time - EPOCH
    return since.days * DAY_MS + since.seconds * 1000 + since.microseconds // 1000


def facts_of(event: Event) -> Facts:
    """The facts in one event, about the caller ID that it names."""
    at_ms = event_ms(event)
    match event:
        case CallPlaced():
            return Facts({(at_ms // DAY_MS, identity(event.source, event.id)): at_ms // QUARTER_MS})
        case CarrierFlag():
            return Facts(flags=(Flag(at_ms, identity(event.source, event.id), event.data.kind),))
        case CooldownCleared():
            return Facts(clears=(at_ms,))


def merge(a: Facts, b: Facts) -> Facts:
    """The union of both. Merging is commutative, associative and idempotent."""
    calls = dict(a.calls)
    for key, quarter in b.calls.items():
        calls[key] = min(quarter, calls.get(key, quarter))
    return Facts(calls, merge_flags(a.flags, b.flags), tuple(sorted({*a.clears, *b.clears})[-MAX_CLEARS:]))


def merge_flags(a: Iterable[Flag], b: Iterable[Flag]) -> tuple[Flag, ...]:
    """The newest 64 flags of each kind, ascending. An identity counts once per kind: the later time wins.

    Each kind is merged on its own. If one identity with two kinds were a single flag, the result would depend on the
    order of merging: a flag beyond the 64 of one kind could return as the other.
    """
    by_identity = {(flag.kind, flag.identity): flag for flag in sorted([*a, *b])}
    counts: Counter[FlagKind] = Counter()
    kept = []
    for flag in sorted(by_identity.values(), reverse=True):
        counts[flag.kind] += 1
        if counts[flag.kind] <= MAX_FLAGS_OF_A_KIND:
            kept.append(flag)
    return tuple(reversed(kept))


def fold(facts: Mapping[int, Facts], events: Iterable[Event]) -> dict[int, Facts]:
    """Folds events into the facts of the caller IDs that they name. Returns all facts by caller ID."""
    folded = dict(facts)
    for event in events:
        caller = event.data.caller_id_id
        folded[caller] = merge(folded.get(caller, Facts()), facts_of(event))
    return folded
