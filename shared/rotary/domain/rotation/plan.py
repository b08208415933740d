"""Plans: what the atomic function needs to know of a group, computed from its definition and its callers' flags.

Eligibility has this one implementation. A plan holds for one calendar day of the customer and for the versions of the
definition and the flags that it was made from; what depends on time alone is in it as times.
"""

from bisect import bisect_left
from collections.abc import Mapping
from functools import cached_property

from msgspec import Struct

from rotary.definitions import Carrier, GroupDefinition, MemberDefinition, RotationStrategy, Status
from rotary.domain.cooldown import cooldown_until
from rotary.domain.facts import NO_FACTS, QUARTER_MS, CallerFacts
from rotary.domain.quota import local_date, today
from rotary.policy import DAY_SECONDS, Policy

PHASES = 2**32
_KNUTH = 2_654_435_761


class PlanMember(Struct, frozen=True):
    """A member that is not disabled. `cap` is the effective one; `until_ms` 0 when no flag rests it.

    `phase` / 2^32 is where in its own interval a weighted member's turns lie, so that equal weights do not cluster.
    """

    id: int
    weight: int
    cap: int
    hourly_cap: int | None
    min_gap_ms: int
    until_ms: int
    phase: int
    number: str
    display_name: str | None
    carrier: Carrier
    trunk_name: str | None


class Plan(Struct, frozen=True):
    """A group on one day. The day is the quarter hours `day_begin` ≤ q < `day_end` since 1970."""

    group_id: int
    strategy: RotationStrategy
    is_sticky: bool
    status: Status
    pick_ttl_ms: int
    sticky_ms: int
    day_begin: int
    day_end: int
    disabled: int
    members: tuple[PlanMember, ...]


def make_plan(group: GroupDefinition, facts: Mapping[int, CallerFacts], now_ms: int) -> Plan:
    """The plan of a group; of the facts only the flags matter. A disabled group's has no members."""
    begin, end = today(group.timezone, now_ms // QUARTER_MS)
    active = [member for member in group.members if member.status == "active"]
    is_on = group.status == "active"
    return Plan(
        group.id,
        group.rotation_strategy,
        is_sticky(group),
        group.status,
        group.policy.pick_ttl_seconds * 1000,
        group.policy.sticky_days * DAY_SECONDS * 1000,
        begin,
        end,
        len(group.members) - len(active),
        tuple(_member(one, facts.get(one.id, NO_FACTS), group, now_ms) for one in active) if is_on else (),
    )


def is_sticky(group: GroupDefinition) -> bool:
    """Whether leads keep their numbers."""
    return group.sticky_enabled or group.rotation_strategy == "sticky_lead"


def resting_until(facts: CallerFacts, policy: Policy, now_ms: int) -> int:
    """When the rest that the flags cause ends, 0 for none. It ends by time alone: no need to compute it again then."""
    return cooldown_until(facts.flags, facts.cleared_at_ms, policy, now_ms) or 0


def effective_cap(member: MemberDefinition, policy: Policy, timezone: str, now_ms: int) -> int:
    """The daily cap, or that of the warm-up when it is lower. Days are the customer's; activation is on day 0."""
    if not policy.warm_up or member.activated_ms is None:
        return member.daily_cap
    age = local_date(timezone, now_ms) - local_date(timezone, member.activated_ms)
    return min([member.daily_cap, *(step.cap for step in policy.warm_up if age.days < step.before_day)])


def _member(member: MemberDefinition, facts: CallerFacts, group: GroupDefinition, now_ms: int) -> PlanMember:
    return PlanMember(
        member.id,
        member.weight,
        effective_cap(member, group.policy, group.timezone, now_ms),
        member.hourly_cap,
        (member.min_gap_seconds or 0) * 1000,
        resting_until(facts, group.policy, now_ms),
        member.id * _KNUTH % PHASES,
        member.number,
        member.display_name,
        member.carrier,
        member.trunk_name,
    )


class Preferences:
    """Which classes of members come first for a carrier and a prefix: `carrier|prefix`, either may be empty."""

    def __init__(self, group: GroupDefinition) -> None:
        self._group = group

    def callers(self, name: str) -> list[int]:
        """The active members of a class."""
        carrier, _, prefix = name.partition("|")
        members = self._members.get(carrier, [])
        first, after = bisect_left(members, (prefix,)), bisect_left(members, (prefix + "\U0010ffff",))
        return [caller for _, caller in members[first:after]]

    @cached_property
    def _members(self) -> dict[str, list[tuple[str, int]]]:
        """The active members by number, of each carrier and of all."""
        members: dict[str, list[tuple[str, int]]] = {"": []}
        for member in self._group.members:
            if member.status == "active":
                members[""].append((member.number, member.id))
                members.setdefault(member.carrier, []).append((member.number, member.id))
        return {carrier: sorted(some) for carrier, some in members.items()}

    @cached_property
    def _numbers(self) -> dict[str, list[str]]:
        """The active members' numbers, sorted, of each carrier and of all."""
        return {carrier: [number for number, _ in some] for carrier, some in self._members.items()}

    def classes(self, carrier: Carrier | None, prefix: str | None) -> list[str]:
        """The classes to try before all members, best first; only such as have an active member.

        The carrier's own come first, of them those that share the longest beginning with `prefix`; then, of any
        carrier, those that share the longest.
        """
        found: list[str] = []
        if carrier in self._numbers:
            found = [*self._sharing(carrier, prefix), f"{carrier}|"]
        return found + self._sharing("", prefix)

    def _sharing(self, carrier: str, prefix: str | None) -> list[str]:
        """Longest beginning first; of those that the same numbers have, the longest."""
        if prefix is None:
            return []
        numbers, found, count = self._numbers[carrier], list[str](), 0
        for length in range(len(prefix), 0, -1):
            beginning = prefix[:length]
            having = bisect_left(numbers, beginning + "\U0010ffff") - bisect_left(numbers, beginning)
            if having > count:
                found.append(f"{carrier}|{beginning}")
                count = having
        return found
