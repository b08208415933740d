"""The monitor: which members of a group may dial now. The API encodes these Structs as its response bodies."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Literal

from msgspec import Meta, Struct

from rotary.definitions import Carrier, DailyCap, GroupDefinition, MemberDefinition
from rotary.domain.cooldown import cooldown_until
from rotary.domain.facts import NO_FACTS, QUARTER_MS, QUARTERS_A_DAY, CallerFacts
from rotary.domain.health import health_score, last_day
from rotary.domain.quota import today
from rotary.events import Id, Timestamp
from rotary.policy import Policy

MemberStatus = Literal["eligible", "cooldown", "disabled", "quota_exceeded"]


class MonitorMember(Struct, frozen=True, gc=False):
    """One caller ID. `cooldown_until` is UTC to the second, and null unless `status` is cooldown."""

    caller_id_id: Id
    number: str
    carrier: Carrier
    status: MemberStatus
    health_score: Annotated[int, Meta(ge=0, le=100)]
    calls_today: Annotated[int, Meta(ge=0)]
    daily_cap: DailyCap
    cooldown_until: Timestamp | None


class Monitor(Struct, frozen=True):
    """A group with its members, which ascend by `caller_id_id`.

    The number of members over quota is `total_members` minus the other three counts.
    """

    group_id: Id
    group_name: str
    total_members: int
    eligible_now: int
    in_cooldown: int
    disabled: int
    members: list[MonitorMember]


def monitor(group: GroupDefinition, facts: Mapping[int, CallerFacts], now_ms: int) -> Monitor:
    """The monitor of a group at `now_ms`, UTC. `facts` may omit caller IDs without facts."""
    windows = windows_at(group.timezone, now_ms // QUARTER_MS)
    policy = group.policy
    members = [_member(member, facts.get(member.id, NO_FACTS), windows, policy, now_ms) for member in group.members]
    statuses = [member.status for member in members]
    return Monitor(
        group_id=group.id,
        group_name=group.name,
        total_members=len(members),
        eligible_now=statuses.count("eligible"),
        in_cooldown=statuses.count("cooldown"),
        disabled=statuses.count("disabled"),
        members=members,
    )


Window = tuple[int, int, int]
"""The quarter hours of a UTC day that count: those from the first to before the second are in the customer's current
day, those from the third on in the last 24 hours, which end with the last day that is read."""
_NONE: Window = (0, 0, QUARTERS_A_DAY)


@lru_cache(maxsize=4096)
def windows_at(timezone: str, quarter: int) -> Mapping[int, Window]:
    """What counts at a given quarter hour, by UTC day. All members of all groups in a zone share the result."""
    (begin, end), (since, last) = today(timezone, quarter), last_day(quarter * QUARTER_MS)
    days = range(min(begin, since) // QUARTERS_A_DAY, last // QUARTERS_A_DAY)
    return {day: (_within(day, begin), _within(day, end), _within(day, since)) for day in days}


def _within(day: int, quarter: int) -> int:
    """The edge of a window in a day's quarter hours."""
    return min(max(quarter - day * QUARTERS_A_DAY, 0), QUARTERS_A_DAY)


def _member(
    member: MemberDefinition, facts: CallerFacts, windows: Mapping[int, Window], policy: Policy, now_ms: int
) -> MonitorMember:
    # This runs for every member of every group that is shown: a function of its own for the counts would cost a tenth.
    calls = recent = 0
    for day, counts in facts.calls.items():
        begin, end, since = windows.get(day, _NONE)
        if not begin and not since and end >= len(counts):  # most often: a UTC day of which all counts for both
            placed = sum(counts)
            calls += placed
            recent += placed
        else:
            calls += sum(counts[begin:end])
            recent += sum(counts[since:])
    flags = facts.flags
    until = cooldown_until(flags, facts.cleared_at_ms, policy, now_ms) if flags else None
    status = member_status(member, calls, until)
    return MonitorMember(
        member.id,
        member.number,
        member.carrier,
        status,
        health_score(recent, flags, policy, now_ms) if flags or recent > policy.volume_calls else 100,
        calls,
        member.daily_cap,
        datetime.fromtimestamp(until // 1000, UTC) if until is not None and status == "cooldown" else None,
    )


def member_status(member: MemberDefinition, calls: int, until: int | None) -> MemberStatus:
    """The first that applies: disabled, cooldown, quota_exceeded, eligible. `until` is the end of a cooldown."""
    if member.status == "disabled":
        return "disabled"
    if until is not None:
        return "cooldown"
    return "quota_exceeded" if calls >= member.daily_cap else "eligible"
