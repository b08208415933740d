"""The monitor: which members of a group may dial right now. The Structs are the very bodies the API answers."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from rotary.definitions import Carrier, DailyCap, GroupDefinition, MemberDefinition
from rotary.domain.cooldown import cooldown_until
from rotary.domain.facts import NO_FACTS, Tally
from rotary.domain.health import health_score
from rotary.domain.quota import calls_today
from rotary.events import Id, Timestamp
from rotary.policy import Policy

MemberStatus = Literal["eligible", "cooldown", "disabled", "quota_exceeded"]


class MonitorMember(Struct, frozen=True):
    """One caller ID now. `cooldown_until` is UTC at second precision, null unless `status` is cooldown."""

    caller_id_id: Id
    number: str
    carrier: Carrier
    status: MemberStatus
    health_score: Annotated[int, Meta(ge=0, le=100)]
    calls_today: Annotated[int, Meta(ge=0)]
    daily_cap: DailyCap
    cooldown_until: Timestamp | None


class Monitor(Struct, frozen=True):
    """A group now; members ascend by `caller_id_id`. Those over quota are total_members less the other three counts."""

    group_id: Id
    group_name: str
    total_members: int
    eligible_now: int
    in_cooldown: int
    disabled: int
    members: list[MonitorMember]


def monitor(group: GroupDefinition, facts: Mapping[int, Tally], now_ms: int) -> Monitor:
    """The monitor of a group from the facts about its caller IDs (none known is no facts) at `now_ms`, UTC."""
    policy = group.policy
    members = [
        monitor_member(member, facts.get(member.id, NO_FACTS), group.timezone, policy, now_ms)
        for member in group.members
    ]
    statuses = Counter(member.status for member in members)
    return Monitor(
        group_id=group.id,
        group_name=group.name,
        total_members=len(members),
        eligible_now=statuses["eligible"],
        in_cooldown=statuses["cooldown"],
        disabled=statuses["disabled"],
        members=members,
    )


def monitor_member(member: MemberDefinition, facts: Tally, timezone: str, policy: Policy, now_ms: int) -> MonitorMember:
    """One member's line of the monitor at `now_ms`."""
    calls = calls_today(facts.calls, timezone, now_ms)
    until = cooldown_until(facts.flags, facts.cleared_at_ms, policy, now_ms)
    status = member_status(member, calls, until)
    return MonitorMember(
        member.id,
        member.number,
        member.carrier,
        status,
        health_score(facts.calls, facts.flags, policy, now_ms),
        calls,
        member.daily_cap,
        datetime.fromtimestamp(until // 1000, UTC) if until is not None and status == "cooldown" else None,
    )


def member_status(member: MemberDefinition, calls: int, until: int | None) -> MemberStatus:
    """disabled > cooldown > quota_exceeded > eligible."""
    if member.status == "disabled":
        return "disabled"
    if until is not None:
        return "cooldown"
    return "quota_exceeded" if calls >= member.daily_cap else "eligible"
