"""A simulated dialer of one customer: reads the monitor, places calls, and publishes what carriers report."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from rotary.definitions import CARRIER_LABELS
from rotary.domain.monitor import MonitorMember
from rotary.events import Event, FlagKind
from rotary.publisher import PublishError
from rotary_demo.activity import Kind
from rotary_demo.api_client import ApiError
from rotary_demo.backfill import random_lead_id
from rotary_demo.clients import CustomerClient
from rotary_demo.rotation import Rotation
from rotary_demo.working_day import demo_pace

CALLS_PER_MINUTE = 16
"""Calls of one eligible caller ID in the busiest hour."""
RETRY_SECONDS = 1.0
READ_SECONDS = 1.0
FLAG_SECONDS = 9.0
SUPERVISOR_SECONDS = 40.0

_FLAGS: dict[FlagKind, tuple[int, str]] = {
    "rejected": (45, "603"),
    "user_report": (25, "complaint"),
    "spam_label": (20, "label"),
    "blocked": (10, "607"),
}
"""The percentage of flags of each kind, and the carrier's code in them."""

Report = Callable[[int | None, Kind, str], None]
"""Takes a line of activity. The first argument is the group it concerns, or None for all."""


class RecentCall(Struct, frozen=True):
    """A group and a member that has placed a call in it."""

    group_id: int
    member: MonitorMember


class Dialer:
    """Dials in all active groups of one customer until it is cancelled. It retries while a server is down."""

    def __init__(self, client: CustomerClient, report: Report, rng: Random) -> None:
        self.api = client.api
        self.publisher = client.publisher
        self.zone = client.zone
        self.report = report
        self.rng = rng
        self.recent_calls = deque[RecentCall](maxlen=40)

    async def run(self) -> None:
        """Raises ApiError if the customer's groups cannot be read at the start."""
        groups = [await self.api.group(group.id) for group in await self.api.groups() if group.status == "active"]
        async with asyncio.TaskGroup() as tasks:
            for group in groups:
                weights = {caller_id.id: caller_id.weight for caller_id in group.caller_ids}
                rotation = Rotation(group.rotation_strategy, weights, self.rng)
                tasks.create_task(self._repeat(GroupCalls(self, group.id, rotation).step))
                tasks.create_task(self._repeat(Supervisor(self, group.id).step))
            tasks.create_task(self._repeat(self._receive_flag))

    async def publish(self, event: Event) -> None:
        """Publishes until the broker confirms, however long it takes: the call has been placed."""
        while True:
            try:
                return await self.publisher.publish(event)
            except PublishError as error:
                self.report(None, "error", str(error))
                await asyncio.sleep(RETRY_SECONDS)

    async def _repeat(self, step: Callable[[], Awaitable[float]]) -> None:
        """Runs `step` again and again. It returns the seconds until the next run."""
        while True:
            try:
                pause = await step()
            except ApiError as error:
                self.report(None, "error", str(error))
                pause = RETRY_SECONDS
            await asyncio.sleep(pause)

    async def _receive_flag(self) -> float:
        """A carrier, or a person who was called, flags a number that placed a call recently."""
        if not self.recent_calls:
            return 3.0
        kind = self.rng.choices(list(_FLAGS), [percentage for percentage, _ in _FLAGS.values()])[0]
        await self._publish_flag(self.rng.choice(self.recent_calls), kind)
        return self.rng.uniform(0.5, 1.5) * FLAG_SECONDS

    async def _publish_flag(self, call: RecentCall, kind: FlagKind) -> None:
        member = call.member
        # A complaint arrives late. Its event time is the call's, so most of its cooldown of an hour is already over.
        late = timedelta(minutes=59, seconds=self.rng.randint(0, 30)) if kind == "user_report" else timedelta()
        code, at = _FLAGS[kind][1], datetime.now(UTC) - late
        events = self.publisher.events
        await self.publish(events.carrier_flag(member.caller_id_id, kind, member.carrier, code, time=at))
        when = ", 59 min late" if late else ""
        text = f"carrier-flag: {kind} from {CARRIER_LABELS[member.carrier]}{when}"
        self.report(call.group_id, "published", f"{member_label(member)}  {text}")


class GroupCalls:
    """Places calls in one group, from members that the API reports as eligible and no others."""

    def __init__(self, dialer: Dialer, group_id: int, rotation: Rotation) -> None:
        self._dialer = dialer
        self._group_id = group_id
        self._rotation = rotation
        self._eligible: list[MonitorMember] = []
        self._read_again_at = 0.0

    async def step(self) -> float:
        """Places one call if a member is eligible. The more are eligible, the sooner the next call."""
        await self._read()
        if not self._eligible:
            self._dialer.report(self._group_id, "observed", f"no caller ID of group {self._group_id} is eligible")
            return READ_SECONDS
        await self._call(random_lead_id(self._dialer.rng))
        per_minute = CALLS_PER_MINUTE * max(1, len(self._eligible)) * demo_pace(datetime.now(self._dialer.zone))
        return self._dialer.rng.expovariate(per_minute / 60)

    async def _read(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._read_again_at:
            monitor = (await self._dialer.api.monitor(self._group_id)).monitor
            self._eligible = [member for member in monitor.members if member.status == "eligible"]
            self._read_again_at = now + READ_SECONDS

    async def _call(self, lead_id: str) -> None:
        member = self._rotation.next(self._eligible, lead_id)
        events = self._dialer.publisher.events
        await self._dialer.publish(events.call_placed(member.caller_id_id, self._group_id, lead_id))
        self._dialer.recent_calls.append(RecentCall(self._group_id, member))
        # Between two reads the dialer counts its own calls, to stay within the caps.
        counted = [replace(other, calls_today=other.calls_today + (other is member)) for other in self._eligible]
        self._eligible = [other for other in counted if other.calls_today < other.daily_cap]


class Supervisor:
    """A person who calls the carrier now and then, and ends the cooldown of a caller ID."""

    def __init__(self, dialer: Dialer, group_id: int) -> None:
        self._dialer = dialer
        self._group_id = group_id

    async def step(self) -> float:
        """Clears one cooldown if more than a quarter of the group is in cooldown."""
        monitor = (await self._dialer.api.monitor(self._group_id)).monitor
        resting = [member for member in monitor.members if member.status == "cooldown"]
        if len(resting) * 4 > monitor.total_members:
            member = self._dialer.rng.choice(resting)
            await self._dialer.publish(self._dialer.publisher.events.cooldown_cleared(member.caller_id_id))
            self._dialer.report(
                self._group_id, "published", f"{member_label(member)}  cooldown-cleared by a supervisor"
            )
        return SUPERVISOR_SECONDS


def member_label(member: MonitorMember) -> str:
    """A caller ID in a line of activity."""
    return f"{member.caller_id_id} {member.number}"
