"""Reads facts: the counters and flags of many caller IDs in one round trip."""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from rotary.domain.facts import NO_FLAGS, CallerFacts, Counts, Flag, Flags, GroupFacts
from rotary.events import FlagKind
from rotary.redis import keys

_SIGN = 2**63
COUNTERS_KEPT_DAYS, FLAGS_KEPT_DAYS = 7, 70
"""How long the functions keep counters after their UTC day, and flags after the last change."""


class _StoredFlags(Struct, array_like=True):
    cleared_at_ms: int
    flags: list[tuple[int, str, FlagKind]]
    clears: list[int] = []


_decode = msgspec.msgpack.Decoder(_StoredFlags).decode


def fact_keys(customer: int, callers: Sequence[int], days: Sequence[int], generation: int = 0) -> list[str]:
    """The keys of the facts about `callers` on the UTC `days`: for each, its flags and then its counters by day."""
    names = []
    for caller in callers:
        names.append(keys.flags(customer, caller, generation))
        names += [keys.calls(customer, caller, day, generation) for day in days]
    return names


def decode_group_facts(days: Sequence[int], values: Sequence[bytes | None]) -> GroupFacts:
    """The facts with a row for each caller ID, from the values of `fact_keys` that MGET returned."""
    width = 1 + len(days)
    assert len(values) % width == 0
    calls: dict[int, list[Counts | None]] = {day: [*values[at::width]] for at, day in enumerate(days, 1)}
    return GroupFacts(calls, [NO_FLAGS if value is None else decode_flags(value) for value in values[::width]])


def decode_facts(callers: Sequence[int], days: Sequence[int], values: Sequence[bytes | None]) -> dict[int, CallerFacts]:
    """The facts by caller ID, from the values of `fact_keys` that MGET returned."""
    columns = decode_group_facts(days, values)
    rows: list[dict[int, Counts]] = [{} for _ in callers]
    for day, column in columns.calls.items():
        for calls, counts in zip(rows, column, strict=True):
            if counts:
                calls[day] = counts
    found = zip(callers, rows, columns.flags, strict=True)
    return {caller: CallerFacts(calls, *flags) for caller, calls, flags in found}


def decode_flags(value: bytes) -> Flags:
    """The flags of a caller ID."""
    stored = _decode(value)
    return _flags(stored), stored.cleared_at_ms or None


def decode_past_flags(value: bytes) -> tuple[tuple[Flag, ...], tuple[int, ...]]:
    """The flags and the clears, both ascending."""
    stored = _decode(value)
    return _flags(stored), tuple(stored.clears)


def _flags(stored: _StoredFlags) -> tuple[Flag, ...]:
    return tuple(Flag(at_ms, int(digits, 16) - _SIGN, kind) for at_ms, digits, kind in stored.flags)
