"""The monitor: which members of a group may dial now. The API encodes these Structs as its response bodies."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Literal

from msgspec import Meta, Struct

from rotary.definitions import Carrier, DailyCap, GroupDefinition
from rotary.domain.cooldown import cooldown_until
from rotary.domain.facts import (
    COUNT_BYTES,
    DAY_BYTES,
    LARGE_COUNTS,
    QUARTER_MS,
    QUARTERS_A_DAY,
    SUM_MODULUS,
    Counts,
    GroupFacts,
    total,
)
from rotary.domain.health import health_score, last_day
from rotary.domain.quota import today
from rotary.events import Id, Timestamp

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


def monitor(group: GroupDefinition, facts: GroupFacts, now_ms: int) -> Monitor:
    """The monitor of a group at `now_ms`, UTC.

    A member's status is the first that applies: disabled, cooldown, quota_exceeded, eligible.
    """
    windows = windows_at(group.timezone, now_ms // QUARTER_MS)
    policy = group.policy
    volume = policy.volume_calls
    calls_today, calls_of_day = [0] * len(group.members), [0] * len(group.members)
    for day, column in facts.calls.items():
        if window := windows.get(day):
            _add(column, window, calls_today, calls_of_day)
    eligible = resting = disabled = 0
    members = []
    # One loop: calls for each member of every group that is shown would cost a seventh.
    rows = zip(group.members, facts.flags, calls_today, calls_of_day, strict=True)
    for member, (flags, cleared_at_ms), calls, recent in rows:
        daily_cap = member.daily_cap
        until = cooldown_until(flags, cleared_at_ms, policy, now_ms) if flags else None
        rests_until = None
        status: MemberStatus
        if member.status == "disabled":
            status = "disabled"
            disabled += 1
        elif until is not None:
            status = "cooldown"
            resting += 1
            rests_until = datetime.fromtimestamp(until // 1000, UTC)
        elif calls >= daily_cap:
            status = "quota_exceeded"
        else:
            status = "eligible"
            eligible += 1
        health = health_score(recent, flags, policy, now_ms) if flags or recent > volume else 100
        shown = MonitorMember(member.id, member.number, member.carrier, status, health, calls, daily_cap, rests_until)
        members.append(shown)
    return Monitor(group.id, group.name, len(members), eligible, resting, disabled, members)


Window = tuple[int, int, int]
"""What counts of a UTC day, as places in its `Counts`: from the first to before the second is in the customer's current
day, from the third on in the last 24 hours, which end with the last day that is read."""


def _add(column: Sequence[Counts | None], window: Window, calls_today: list[int], calls_of_day: list[int]) -> None:
    """Adds the calls of a UTC day to each row's calls in the customer's current day and in the last 24 hours."""
    begin, end, since = window
    number_of = int.from_bytes
    for row, counts in enumerate(column):
        if not counts:
            continue
        number, size = number_of(counts), len(counts)
        if number & LARGE_COUNTS or end < size:
            calls_today[row] += total(counts[begin:end])
            calls_of_day[row] += total(counts[since:])
        elif begin or since:  # likewise, without a call: the counts from a place on are the number's last digits
            if begin < size:
                calls_today[row] += (number & _DIGITS[size - begin]) % SUM_MODULUS
            if since < size:
                calls_of_day[row] += (number & _DIGITS[size - since]) % SUM_MODULUS
        else:  # a UTC day of which all counts for both
            placed = number % SUM_MODULUS
            calls_today[row] += placed
            calls_of_day[row] += placed


_DIGITS = [256**length - 1 for length in range(DAY_BYTES + 1)]
"""The last bytes of a number, so many."""


@lru_cache(maxsize=4096)
def windows_at(timezone: str, quarter: int) -> Mapping[int, Window]:
    """What counts at a given quarter hour, by UTC day. All members of all groups in a zone share the result."""
    (begin, end), (since, last) = today(timezone, quarter), last_day(quarter * QUARTER_MS)
    days = range(min(begin, since) // QUARTERS_A_DAY, last // QUARTERS_A_DAY)
    return {day: (_within(day, begin), _within(day, end), _within(day, since)) for day in days}


def _within(day: int, quarter: int) -> int:
    """The edge of a window in a day's counts."""
    return min(max(quarter * COUNT_BYTES - day * DAY_BYTES, 0), DAY_BYTES)
