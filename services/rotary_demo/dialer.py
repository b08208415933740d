"""A simulated dialer of one customer: picks a number, places the call, and publishes what carriers report."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from random import Random

from msgspec import Struct

from rotary.definitions import CARRIER_LABELS
from rotary.domain.monitor import MonitorMember
from rotary.engine import EngineError, NothingEligible, Pick
from rotary.events import Event, FlagKind
from rotary.publisher import PublishError
from rotary_demo.activity import Kind
from rotary_demo.api_client import ApiError
from rotary_demo.backfill import random_lead_id
from rotary_demo.clients import CustomerClient
from rotary_demo.picks import PickCounts
from rotary_demo.working_day import demo_pace

CALLS_PER_MINUTE = 16
"""Calls of one eligible caller ID in the busiest hour."""
UNPLACED = 0.06
"""The share of picks that are given back, because the lead was no longer to be called."""
RETRY_SECONDS = 1.0
READ_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 5.0
"""A demo waits no longer for a group that has run out, so that one sees when it comes back."""
FLAG_SECONDS = 9.0
SUPERVISOR_SECONDS = 40.0

_FLAGS: dict[FlagKind, tuple[int, str]] = {
    "rejected": (45, "603"),
    "user_report": (25, "complaint"),
    "spam_label": (20, "label"),
    "blocked": (10, "607"),
}
"""The percentage of flags of each kind, and the carrier's code in them."""

_LABELS: Mapping[str, str] = {str(carrier): text for carrier, text in CARRIER_LABELS.items()}

Report = Callable[[int | None, Kind, str], None]
"""Takes a line of activity. The first argument is the group it concerns, or None for all."""


class RecentCall(Struct, frozen=True):
    """A call that was placed in a group."""

    group_id: int
    pick: Pick


class Dialer:
    """Dials in all active groups of one customer until it is cancelled. It retries while a server is down."""

    def __init__(self, client: CustomerClient, picks: PickCounts, report: Report, rng: Random) -> None:
        self.api = client.api
        self.engine = client.engine
        self.picks = picks
        self.publisher = client.publisher
        self.zone = client.zone
        self.report = report
        self.rng = rng
        self.recent_calls = deque[RecentCall](maxlen=40)

    async def run(self) -> None:
        """Raises ApiError if the customer's groups cannot be read at the start."""
        groups = [group for group in await self.api.groups() if group.status == "active"]
        async with asyncio.TaskGroup() as tasks:
            for group in groups:
                tasks.create_task(self._repeat(GroupCalls(self, group.id).step))
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
            except (ApiError, EngineError) as error:
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
        pick = call.pick
        # A complaint arrives late. Its event time is the call's, so most of its cooldown of an hour is already over.
        late = timedelta(minutes=59, seconds=self.rng.randint(0, 30)) if kind == "user_report" else timedelta()
        code, at = _FLAGS[kind][1], datetime.now(UTC) - late
        events = self.publisher.events
        await self.publish(events.carrier_flag(pick.caller_id_id, kind, pick.carrier, code, time=at))
        when = ", 59 min late" if late else ""
        text = f"carrier-flag: {kind} from {_LABELS.get(pick.carrier, pick.carrier)}{when}"
        self.report(call.group_id, "published", f"{label(pick)}  {text}")


class GroupCalls:
    """Places calls in one group, from the numbers that the engine picks and no others."""

    def __init__(self, dialer: Dialer, group_id: int) -> None:
        self._dialer = dialer
        self._group_id = group_id
        self._eligible = 0
        self._read_again_at = 0.0

    async def step(self) -> float:
        """Places one call if a number can be picked. The more members are eligible, the sooner the next call."""
        dialer, lead_id = self._dialer, random_lead_id(self._dialer.rng)
        try:
            async with dialer.engine.pick(self._group_id, lead_id=lead_id) as pick:
                await self._dial(pick, lead_id)
        except NothingEligible as nothing:
            return self._wait(nothing)
        await self._read()
        per_minute = CALLS_PER_MINUTE * max(1, self._eligible) * demo_pace(datetime.now(dialer.zone))
        return dialer.rng.expovariate(per_minute / 60)

    async def _dial(self, pick: Pick, lead_id: str) -> None:
        """The call, which names its pick; or nothing, and the pick is given back."""
        dialer = self._dialer
        dialer.picks.picked(self._group_id)
        if dialer.rng.random() < UNPLACED:
            dialer.picks.released += 1
            dialer.report(self._group_id, "picked", f"{label(pick)}  given back: the call was not placed")
            return
        pick.placed()
        events = dialer.publisher.events
        call = events.call_placed(pick.caller_id_id, self._group_id, lead_id, pick_id=pick.id)
        await dialer.publish(call)
        dialer.recent_calls.append(RecentCall(self._group_id, pick))

    def _wait(self, nothing: NothingEligible) -> float:
        """Seconds until the next attempt, at most until somebody can be picked."""
        self._dialer.picks.refused(self._group_id, nothing.next_eligible_at)
        why = ", ".join(f"{count} {reason}" for reason, count in nothing.reasons.items())
        self._dialer.report(self._group_id, "picked", f"no number can be picked: {why}")
        return min(nothing.retry_after or LONGEST_WAIT_SECONDS, LONGEST_WAIT_SECONDS)

    async def _read(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._read_again_at:
            self._eligible = (await self._dialer.api.monitor(self._group_id)).monitor.eligible_now
            self._read_again_at = now + READ_SECONDS


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
            self._dialer.report(self._group_id, "published", f"{label(member)}  cooldown-cleared by a supervisor")
        return SUPERVISOR_SECONDS


def label(caller_id: MonitorMember | Pick) -> str:
    """A caller ID in a line of activity."""
    return f"{caller_id.caller_id_id} {caller_id.number}"
