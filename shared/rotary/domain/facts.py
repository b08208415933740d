"""The facts about one caller ID, and their merge: a union of sets, so order, duplication and batching cannot matter.

This is the oracle of the Redis function, which stores the same sets more tightly. Both rest on CloudEvents' promise
that a (source, id) names one event: a source that stamps a retry with another time breaks it. Then the earliest
quarter hour (here) or the first to arrive (in Redis) stands, still counted once within one UTC day.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from rotary.events import CallPlaced, CarrierFlag, CooldownCleared, Event, FlagKind, identity

QUARTER_MS = 900_000
DAY_MS = 86_400_000
QUARTERS_A_DAY = 96
MAX_FLAGS_OF_A_KIND = 64
"""How many of a caller ID's flags of each kind are kept, the newest: no kind can push out another."""

DayCounts = Mapping[int, Sequence[int]]
"""UTC day (days since 1970-01-01) → calls in each of its quarter hours; trailing zeros may be missing."""


class Flag(Struct, frozen=True, order=True, array_like=True):
    """One flag. The order of the fields is the order of flags: by time, then by identity."""

    at_ms: int
    identity: int
    kind: FlagKind


class CallerFacts(Struct, frozen=True):
    """What a reader needs of one caller ID's facts: counts instead of identities. `flags` ascend."""

    calls: DayCounts
    flags: tuple[Flag, ...] = ()
    cleared_at_ms: int | None = None


NO_FACTS = CallerFacts({})


class Facts(Struct, frozen=True):
    """The facts about one caller ID, with identities: `calls` maps (UTC day, identity) to the quarter hour's number."""

    calls: Mapping[tuple[int, int], int] = {}
    flags: tuple[Flag, ...] = ()
    cleared_at_ms: int | None = None

    def caller_facts(self) -> CallerFacts:
        """The same facts as a reader sees them."""
        days: dict[int, list[int]] = {}
        for (day, _), quarter in self.calls.items():
            days.setdefault(day, [0] * QUARTERS_A_DAY)[quarter % QUARTERS_A_DAY] += 1
        return CallerFacts(days, self.flags, self.cleared_at_ms)


def event_ms(event: Event) -> int:
    """The event's own time in UTC milliseconds, rounded down."""
    time = event.time
    return int(time.timestamp()) * 1000 + time.microsecond // 1000


def facts_of(event: Event) -> Facts:
    """The facts that one event states about the caller ID it names."""
    at_ms = event_ms(event)
    match event:
        case CallPlaced():
            return Facts({(at_ms // DAY_MS, identity(event.source, event.id)): at_ms // QUARTER_MS})
        case CarrierFlag():
            return Facts(flags=(Flag(at_ms, identity(event.source, event.id), event.data.kind),))
        case CooldownCleared():
            return Facts(cleared_at_ms=at_ms)


def merge(a: Facts, b: Facts) -> Facts:
    """The facts of both: commutative, associative and idempotent."""
    calls = dict(a.calls)
    for key, quarter in b.calls.items():
        calls[key] = min(quarter, calls.get(key, quarter))
    return Facts(calls, merge_flags(a.flags, b.flags), _latest(a.cleared_at_ms, b.cleared_at_ms))


def merge_flags(a: Iterable[Flag], b: Iterable[Flag]) -> tuple[Flag, ...]:
    """The newest 64 flags of each kind of both, ascending, each identity of a kind once (the later, if times differ).

    A kind is merged as if there were no other: were an identity that comes with two kinds one flag, what the 64 of one
    kind leave out could come back as the other, or not, by the order in which they are merged.
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
    """Folds events into the facts of each caller ID they name; returns the new facts by caller ID."""
    folded = dict(facts)
    for event in events:
        caller = event.data.caller_id_id
        folded[caller] = merge(folded.get(caller, Facts()), facts_of(event))
    return folded


def _latest(a: int | None, b: int | None) -> int | None:
    known = [at for at in (a, b) if at is not None]
    return max(known, default=None)
