"""Reading facts: many caller IDs' counters and flags in one round trip."""

from collections.abc import Sequence
from struct import unpack

import msgspec
from msgspec import Struct

from rotary.domain.facts import NO_FACTS, Flag, Tally
from rotary.events import FlagKind
from rotary.redis import keys

_SIGN = 2**63


class _StoredFlags(Struct, array_like=True):
    cleared_at_ms: int
    flags: list[tuple[int, str, FlagKind]]


_decode = msgspec.msgpack.Decoder(_StoredFlags).decode


def fact_keys(customer: int, callers: Sequence[int], days: Sequence[int]) -> list[str]:
    """The keys of all that is known about `callers` on the UTC `days`: of each its flags, then its days' counters."""
    names = []
    for caller in callers:
        names.append(keys.flags(customer, caller))
        names += [keys.calls(customer, caller, day) for day in days]
    return names


def decode_facts(callers: Sequence[int], days: Sequence[int], values: Sequence[bytes | None]) -> dict[int, Tally]:
    """What `fact_keys` names, read with MGET, by caller ID."""
    width = 1 + len(days)
    return {
        caller: decode_tally(values[at], days, values[at + 1 : at + width])
        for caller, at in zip(callers, range(0, len(values), width), strict=True)
    }


def decode_tally(flags: bytes | None, days: Sequence[int], counters: Sequence[bytes | None]) -> Tally:
    """One caller ID's facts from its flags document and its days' counters."""
    calls = {day: decode_counters(value) for day, value in zip(days, counters, strict=True) if value}
    if flags is None:
        return Tally(calls) if calls else NO_FACTS
    return Tally(calls, *decode_flags(flags))


def decode_counters(value: bytes) -> tuple[int, ...]:
    """Big-endian unsigned 16-bit counters, one a quarter hour; Redis leaves out the zeros at the end."""
    return unpack(f">{len(value) // 2}H", value)


def decode_flags(value: bytes) -> tuple[tuple[Flag, ...], int | None]:
    """The flags, ascending, and the last clear."""
    stored = _decode(value)
    flags = tuple(Flag(at_ms, int(digits, 16) - _SIGN, kind) for at_ms, digits, kind in stored.flags)
    return flags, stored.cleared_at_ms or None
