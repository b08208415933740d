"""A simulated dialer of one customer: asks the monitor, dials, and passes on what carriers answer."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

from msgspec import Struct
from msgspec.structs import replace

from rotary.definitions import CARRIER_LABELS
from rotary.domain.monitor import MonitorMember
from rotary.events import Event, FlagKind
from rotary.publisher import Publisher, PublishError
from rotary_demo.activity import Kind
from rotary_demo.api_client import Api, ApiError
from rotary_demo.backfill import lead
from rotary_demo.rotation import Rotation
from rotary_demo.working_day import tempo

CALLS_A_MINUTE = 16
"""What one eligible caller ID is given at the busiest hour."""
AGAIN_SECONDS = 1.0
FLAG_EVERY_SECONDS = 9.0
CLEAR_EVERY_SECONDS = 40.0

_FLAGS: dict[FlagKind, tuple[int, str]] = {
    "rejected": (45, "603"),
    "user_report": (25, "complaint"),
    "spam_label": (20, "label"),
    "blocked": (10, "607"),
}
"""Of each kind: how often among a hundred, and the code that came with it."""

Tell = Callable[[int | None, Kind, str], None]
"""Takes a line of news and the group it is about."""


class Dialed(Struct, frozen=True):
    """A caller ID that was shown lately."""

    group_id: int
    member: MonitorMember


class Dialer:
    """Dials in all active groups of one customer until it is cancelled; when something is away, it waits for it."""

    def __init__(self, api: Api, publisher: Publisher, zone: ZoneInfo, tell: Tell, chance: Random) -> None:
        self.api = api
        self.publisher = publisher
        self.zone = zone
        self.tell = tell
        self.chance = chance
        self.dialed = deque[Dialed](maxlen=40)

    async def run(self) -> None:
        """Raises ApiError if the customer's groups cannot be read at the beginning."""
        groups = [await self.api.group(group.id) for group in await self.api.groups() if group.status == "active"]
        async with asyncio.TaskGroup() as tasks:
            for group in groups:
                weights = {caller_id.id: caller_id.weight for caller_id in group.caller_ids}
                rotation = Rotation(group.rotation_strategy, weights, self.chance)
                tasks.create_task(self.repeat(Campaign(self, group.id, rotation).step))
                tasks.create_task(self.repeat(Supervisor(self, group.id).step))
            tasks.create_task(self.repeat(self._carriers))

    async def repeat(self, step: Callable[[], Awaitable[float]]) -> None:
        """Takes one step after another; each returns after how many seconds the next is due."""
        while True:
            try:
                pause = await step()
            except ApiError as trouble:
                self.tell(None, "trouble", str(trouble))
                pause = AGAIN_SECONDS
            await asyncio.sleep(pause)

    async def publish(self, event: Event) -> None:
        """Returns when the broker has the event, however long that takes: a call that was placed stays placed."""
        while True:
            try:
                return await self.publisher.publish(event)
            except PublishError as trouble:
                self.tell(None, "trouble", str(trouble))
                await asyncio.sleep(AGAIN_SECONDS)

    async def _carriers(self) -> float:
        """A carrier, or somebody who was called, says something about a number that was dialled lately."""
        if not self.dialed:
            return 3.0
        kind = self.chance.choices(list(_FLAGS), [often for often, _ in _FLAGS.values()])[0]
        await self._flag(self.chance.choice(self.dialed), kind)
        return self.chance.uniform(0.5, 1.5) * FLAG_EVERY_SECONDS

    async def _flag(self, dialed: Dialed, kind: FlagKind) -> None:
        member = dialed.member
        # People complain later: an event's time is when it happened, and the rest of an hour has then nearly passed.
        late = timedelta(minutes=59, seconds=self.chance.randint(0, 30) if kind == "user_report" else 0)
        at = datetime.now(UTC) - (late if kind == "user_report" else timedelta())
        events = self.publisher.events
        await self.publish(events.carrier_flag(member.caller_id_id, kind, member.carrier, _FLAGS[kind][1], time=at))
        when = " (59 min ago)" if kind == "user_report" else ""
        text = f"carrier-flag {kind}{when} from {CARRIER_LABELS[member.carrier]}"
        self.tell(dialed.group_id, "published", f"{named(member)}  {text}")


class Campaign:
    """Calls in one group, shown caller IDs that the API calls eligible and nothing else."""

    def __init__(self, dialer: Dialer, group_id: int, rotation: Rotation) -> None:
        self._dialer = dialer
        self._group_id = group_id
        self._rotation = rotation
        self._eligible: list[MonitorMember] = []
        self._stale_at = 0.0

    async def step(self) -> float:
        """Places one call, if any caller ID may dial; the more may, the sooner the next."""
        await self._read()
        if not self._eligible:
            self._dialer.tell(self._group_id, "seen", f"nobody may dial in group {self._group_id}")
            return AGAIN_SECONDS
        await self._call(lead(self._dialer.chance))
        a_minute = CALLS_A_MINUTE * max(1, len(self._eligible)) * tempo(datetime.now(self._dialer.zone))
        return self._dialer.chance.expovariate(a_minute / 60)

    async def _read(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._stale_at:
            monitor = (await self._dialer.api.monitor(self._group_id)).monitor
            self._eligible = [member for member in monitor.members if member.status == "eligible"]
            self._stale_at = now + AGAIN_SECONDS

    async def _call(self, lead_id: str) -> None:
        member = self._rotation.next(self._eligible, lead_id)
        events = self._dialer.publisher.events
        await self._dialer.publish(events.call_placed(member.caller_id_id, self._group_id, lead_id))
        self._dialer.dialed.append(Dialed(self._group_id, member))
        # Until the API is asked again the dialer counts its own calls, so as not to overshoot a cap.
        counted = [replace(other, calls_today=other.calls_today + (other is member)) for other in self._eligible]
        self._eligible = [other for other in counted if other.calls_today < other.daily_cap]


class Supervisor:
    """A person who now and then has spoken to the carrier and lets a resting number dial again."""

    def __init__(self, dialer: Dialer, group_id: int) -> None:
        self._dialer = dialer
        self._group_id = group_id

    async def step(self) -> float:
        """Clears one caller ID where more than a quarter of the group rests."""
        monitor = (await self._dialer.api.monitor(self._group_id)).monitor
        resting = [member for member in monitor.members if member.status == "cooldown"]
        if len(resting) * 4 > monitor.total_members:
            member = self._dialer.chance.choice(resting)
            await self._dialer.publish(self._dialer.publisher.events.cooldown_cleared(member.caller_id_id))
            self._dialer.tell(self._group_id, "published", f"{named(member)}  cooldown-cleared by a supervisor")
        return CLEAR_EVERY_SECONDS


def named(member: MonitorMember) -> str:
    """A caller ID in a line of news."""
    return f"{member.caller_id_id} {member.number}"
