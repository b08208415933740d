"""What webhooks tell: conditions that begin or end, found by comparing what holds now with what was known to hold.

A condition is a fact about a subject: a caller ID rests, a caller ID is over its quota, a group has no member that may
dial. It is computed as the monitor is, so that a webhook and a dashboard never disagree.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Literal, NamedTuple

from msgspec import Struct, structs

from rotary.definitions import GroupDefinition, MemberDefinition
from rotary.domain.cooldown import cooldown_until
from rotary.domain.facts import QUARTER_MS, CallerFacts, GroupFacts
from rotary.domain.monitor import monitor
from rotary.domain.quota import today

WebhookEvent = Literal[
    "caller_id.cooldown_started",
    "caller_id.cooldown_ended",
    "caller_id.quota_exceeded",
    "group.exhausted",
    "group.recovered",
]
ConditionKind = Literal["cooldown", "quota", "exhausted"]


class Condition(NamedTuple):
    """Something that holds. The subject is a caller ID, or for `exhausted` a group."""

    kind: ConditionKind
    subject_id: int


_BEGINS: Mapping[ConditionKind, WebhookEvent] = {
    "cooldown": "caller_id.cooldown_started",
    "quota": "caller_id.quota_exceeded",
    "exhausted": "group.exhausted",
}
_ENDS: Mapping[ConditionKind, WebhookEvent] = {
    "cooldown": "caller_id.cooldown_ended",
    "exhausted": "group.recovered",
}
"""The end of a quota is midnight, which nobody needs to be told."""


class Transition(NamedTuple):
    """A condition that began or ended."""

    event: WebhookEvent
    subject_id: int


class CallerStatus(Struct, frozen=True, gc=False):
    """One caller ID now. A disabled one rests, and is over its quota, as if it were active: it may be enabled again.

    `until_ms` is the end of its rest, UTC; `changes_ms` is when time alone may change any of this, None for never.
    """

    number: str
    is_eligible: bool
    until_ms: int | None
    is_over_quota: bool
    calls_today: int
    daily_cap: int
    changes_ms: int | None


def caller_status(member: MemberDefinition, facts: CallerFacts, group: GroupDefinition, now_ms: int) -> CallerStatus:
    """A caller ID at `now_ms`, UTC. `group` is any of its groups, which all have its customer's zone and policy."""
    if not facts.calls and not facts.flags:  # most of many
        return CallerStatus(member.number, member.status == "active", None, False, 0, member.daily_cap, None)  # noqa: FBT003
    alone = GroupFacts.of((member.id,), {member.id: facts})
    [shown] = monitor(structs.replace(group, members=(member,)), alone, now_ms).members
    until_ms = cooldown_until(facts.flags, facts.cleared_at_ms, group.policy, now_ms)
    timezone = group.timezone
    over = shown.calls_today >= member.daily_cap
    moments = [until_ms] if until_ms is not None else []
    if over:
        moments.append(today(timezone, now_ms // QUARTER_MS)[1] * QUARTER_MS)
    return CallerStatus(
        member.number,
        member.status == "active" and until_ms is None and not over,
        until_ms,
        over,
        shown.calls_today,
        member.daily_cap,
        min(moments, default=None),
    )


def conditions(callers: Mapping[int, CallerStatus], groups: Iterable[GroupDefinition]) -> set[Condition]:
    """Everything that holds, for these caller IDs and these groups, whose members are all among them.

    A group without members is not exhausted: there is nothing that could be.
    """
    held = {Condition("cooldown", row) for row, caller in callers.items() if caller.until_ms is not None}
    held |= {Condition("quota", row) for row, caller in callers.items() if caller.is_over_quota}
    return held | {Condition("exhausted", group.id) for group in groups if is_exhausted(callers, group)}


def is_exhausted(callers: Mapping[int, CallerStatus], group: GroupDefinition) -> bool:
    """Whether a group has members, and none of them may dial."""
    return bool(group.members) and not any(callers[member.id].is_eligible for member in group.members)


def transitions(
    known: AbstractSet[Condition], held: AbstractSet[Condition], subjects: AbstractSet[Condition]
) -> list[Transition]:
    """What began and what ended, in a fixed order. `subjects` are the conditions that were looked at: of what exists.

    A condition whose subject is gone has not ended: nobody is told.
    """
    begun = [Transition(_BEGINS[one.kind], one.subject_id) for one in held - known]
    over = [one for one in (known & subjects) - held if one.kind in _ENDS]
    return sorted([*begun, *(Transition(_ENDS[one.kind], one.subject_id) for one in over)])
