"""The monitor: which members of a group may dial now. The API encodes these Structs as its response bodies."""

from array import array
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise
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


class MonitorMember(Struct, frozen=True):
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


Windows = Mapping[int, Sequence[tuple[slice, bool, bool]]]
"""By UTC day, runs of its quarter hours that do not overlap. The first flag is true for a run in the customer's current
day, the second for a run in the last 24 hours."""

_ZEROS = [array("I", [0] * quarters) for quarters in range(QUARTERS_A_DAY + 1)]
"""Runs without calls, by length, in the type of facts from Redis. Most runs have no calls, and comparing is faster than
adding."""


@lru_cache(maxsize=4096)
def windows_at(timezone: str, quarter: int) -> Windows:
    """The quarter hours that count at a given quarter hour. All members of all groups in a zone share the result."""
    counted = today(timezone, quarter), last_day(quarter * QUARTER_MS)
    edges = sorted({edge for window in counted for edge in window})
    windows: dict[int, list[tuple[slice, bool, bool]]] = {}
    for day in range(edges[0] // QUARTERS_A_DAY, (edges[-1] - 1) // QUARTERS_A_DAY + 1):
        for begin, end in pairwise(edges):
            run = _within(day, begin, end)
            is_today, is_recent = (first <= begin < after for first, after in counted)
            if run.start < run.stop and (is_today or is_recent):
                windows.setdefault(day, []).append((run, is_today, is_recent))
    return windows


def _within(day: int, begin: int, end: int) -> slice:
    first = day * QUARTERS_A_DAY
    return slice(max(begin - first, 0), min(max(end - first, 0), QUARTERS_A_DAY))


def _member(
    member: MemberDefinition, facts: CallerFacts, windows: Windows, policy: Policy, now_ms: int
) -> MonitorMember:
    calls = recent = 0
    for day, quarters in facts.calls.items():
        for run, is_today, is_recent in windows.get(day, ()):
            counts = quarters[run]
            if counts != _ZEROS[len(counts)]:
                placed = sum(counts)
                if is_today:
                    calls += placed
                if is_recent:
                    recent += placed
    flags = facts.flags
    until = cooldown_until(flags, facts.cleared_at_ms, policy, now_ms) if flags else None
    status = member_status(member, calls, until)
    return MonitorMember(
        member.id,
        member.number,
        member.carrier,
        status,
        # Most caller IDs have no flags, and this runs for every member of every group.
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
