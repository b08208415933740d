"""What the function that picks is asked, and what it answers: functions/picks/6_reserving.lua is the other side.

A pick without wishes is asked for by its id alone, and answered with a caller ID alone: the function refuses to pick
for whoever knows another definition than its own, so what a caller ID shows need not travel. What an idempotency key
remembers is answered in full, for it outlives definitions.
"""

from bisect import bisect_left
from collections.abc import Sequence
from hashlib import blake2b
from operator import attrgetter
from secrets import token_hex
from typing import cast

import msgspec

from rotary.definitions import Carrier
from rotary.domain.rotation.outcomes import NothingEligible, Outcome, Picked, PickRequest, Reason, Refusal
from rotary.redis.pick_plans import KnownGroup, Shown

Pick = str | tuple[str, str, list[str], list[str], str]
"""An id; or with wishes: id, lead or "", classes in the order of preference, excluded caller IDs, and a seed."""
Request = Pick | tuple[list[Pick], str, str]
"""One pick, or those under an idempotency key, with the hash of what was asked."""
Refused = tuple[bool, list[Refusal | int], float | bool]
"""False; reasons, each followed by its count; when to ask again or false."""
Full = tuple[str, str, Reason, float, str, str | bool, Carrier, str | bool]
"""Of a pick: caller ID, id, reason, expiry, number, name, carrier, trunk."""
Answer = str | Refused | list[Full | Refused] | bool
"""To one pick, the caller ID, followed by KEPT if its lead kept it, or a refusal. To a key, its answers in full, or
false if it belongs to another body."""
KEPT = "*"
PREFERRING = 2
"""How many plain picks take as long as one that prefers or excludes: it may look at several queues. A call has no more
than 50 of them, which ask for fewer classes than a plan keeps."""
PASSED_AT_ONCE = 8
"""Excluded members that take as long to pass by as one pick takes; each class may hold all of them."""

_reply = msgspec.msgpack.Decoder(tuple[str, int, int, msgspec.Raw])
_answers = msgspec.msgpack.Decoder(tuple[float, list[object]])
encode = msgspec.msgpack.Encoder().encode


def decode_reply(reply: bytes) -> tuple[str, int, int, msgspec.Raw]:
    """Status, Redis' clock in milliseconds, the bucket's sequence number, and what the status is about."""
    return _reply.decode(reply)


def decode_answers(answers: msgspec.Raw) -> tuple[int, list[Answer]]:
    """When the new reservations end, and an answer for each request."""
    ends_ms, told = _answers.decode(answers)
    return int(ends_ms), cast("list[Answer]", told)


def pick_of(known: KnownGroup, asked: PickRequest, pick_id: str) -> Pick:
    """What to ask for."""
    is_random = known.definition.rotation_strategy == "random"
    lead = asked.lead_id if known.is_sticky else None
    if lead is None and not (asked.carrier or asked.prefix or asked.exclude or is_random):
        return pick_id
    classes = known.preferences.classes(asked.carrier, asked.prefix) if asked.carrier or asked.prefix else []
    return pick_id, lead or "", classes, [str(caller) for caller in asked.exclude], token_hex(8) if is_random else ""


def classes_of(picks: Sequence[Pick]) -> list[str]:
    """The classes that somebody prefers."""
    wishing = [pick for pick in picks if not isinstance(pick, str)]
    return [*dict.fromkeys(name for pick in wishing for name in pick[2])] if wishing else []


def weight_of(pick: Pick) -> int:
    """How many plain picks take as long."""
    if isinstance(pick, str) or not (pick[2] or pick[3]):
        return 1
    return PREFERRING + len(pick[3]) * (1 + len(pick[2])) // PASSED_AT_ONCE


def stamp(group_id: int, at: int, idempotency: tuple[str, bytes]) -> tuple[str, str]:
    """Under what an answer is remembered, and the hash of what was asked; the client's key may be of any length."""
    key, body = idempotency
    return f"{blake2b(key.encode(), digest_size=16).hexdigest()}:{at}", f"{group_id}:{body.hex()}"


def outcomes_of(known: KnownGroup, picks: Sequence[Pick], answers: Sequence[Answer], ends_ms: int) -> list[Outcome]:
    """Of picks without an idempotency key, by the definition that the function was told of."""
    group_id, shown, outcomes = known.definition.id, known.shown, list[Outcome]()
    for pick, answer in zip(picks, answers, strict=True):
        if isinstance(answer, str):
            caller, suffix, number, name, carrier, trunk, reason = shown.get(answer) or _shown(known, answer)
            pick_id = (pick if isinstance(pick, str) else pick[0]) + suffix
            outcomes.append(Picked(pick_id, group_id, caller, number, name, carrier, trunk, reason, ends_ms))
        else:
            outcomes.append(_refused(cast("Refused", answer)))
    return outcomes


def _shown(known: KnownGroup, answer: str) -> Shown:
    """What a caller ID shows, found once: requests ask for the same few again and again."""
    kept = answer.endswith(KEPT)
    caller = int(answer.removesuffix(KEPT))
    members, strategy = known.definition.members, known.definition.rotation_strategy
    member = members[bisect_left(members, caller, key=attrgetter("id"))]
    assert member.id == caller, "the function picks members only"
    chosen_by: Reason = "least_used" if strategy == "sticky_lead" else strategy
    found = known.shown[answer] = (
        *(caller, f"-{caller}", member.number, member.display_name or None, member.carrier, member.trunk_name or None),
        "sticky" if kept else chosen_by,
    )
    return found


def outcomes_in_full(group_id: int, answers: Sequence[Answer]) -> list[Outcome]:
    """Of the picks under an idempotency key."""
    [those] = answers
    return [_in_full(group_id, one) for one in cast("list[Full | Refused]", those)]


def _in_full(group_id: int, answer: Full | Refused) -> Outcome:
    if answer[0] is False:
        return _refused(answer)
    caller, pick_id, reason, ends_ms, number, name, carrier, trunk = cast("Full", answer)
    shown = (int(caller), number, cast("str", name) or None, carrier, cast("str", trunk) or None, reason)
    return Picked(pick_id, group_id, *shown, int(ends_ms))


def _refused(answer: Refused) -> NothingEligible:
    _, flat, next_ms = answer
    counts = cast("dict[Refusal, int]", dict(zip(flat[::2], flat[1::2], strict=True)))
    return NothingEligible(counts, None if next_ms is False else int(next_ms))
