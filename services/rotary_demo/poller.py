"""Polls one group's monitor and reports what changed."""

import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from rotary.domain.monitor import MonitorMember
from rotary_demo.activity import ActivityLog
from rotary_demo.api_client import ApiClient, ApiError, MonitorReading
from rotary_demo.dashboard import DashboardState, format_time
from rotary_demo.dialer import label
from rotary_demo.picks import PickCounts

RATE_SECONDS = 10.0
HIGHLIGHT_SECONDS = 0.8


class MonitorPoller:
    """Polls one group. `confirmed` returns the number of events that the broker has confirmed so far."""

    def __init__(
        self,
        api: ApiClient,
        first: MonitorReading,
        zone: ZoneInfo,
        activity: ActivityLog,
        confirmed: Callable[[], int],
        picks: PickCounts,
    ) -> None:
        self.activity = activity
        self._api = api
        self._state = DashboardState(first, zone, datetime.now(UTC), confirmed(), 0.0, picks, activity=activity.newest)
        self._confirmed = confirmed
        self._counts = deque([(time.monotonic(), confirmed())])
        self._called_at: dict[int, float] = {}

    async def poll(self) -> DashboardState:
        """Reads the monitor. If the API fails, the state keeps the last reading and has the error."""
        error, reading = None, self._state.reading
        try:
            reading = await self._api.monitor(reading.monitor.group_id)
        except ApiError as failure:
            error = str(failure)
        self._compare(self._state.reading, reading)
        self._state = replace(
            self._state,
            reading=reading,
            now=datetime.now(UTC),
            confirmed=self._confirmed(),
            per_second=self._rate(),
            highlighted=self._recently_called(),
            error=error,
        )
        return self._state

    def _rate(self) -> float:
        now = time.monotonic()
        self._counts.append((now, self._confirmed()))
        while len(self._counts) > 2 and self._counts[0][0] < now - RATE_SECONDS:
            self._counts.popleft()
        (began, before), (ended, after) = self._counts[0], self._counts[-1]
        return (after - before) / (ended - began) if ended > began else 0.0

    def _compare(self, before: MonitorReading, after: MonitorReading) -> None:
        known = {member.caller_id_id: member for member in before.monitor.members}
        for member in after.monitor.members:
            old = known.get(member.caller_id_id, member)
            if member.calls_today != old.calls_today:
                self._called_at[member.caller_id_id] = time.monotonic()
            if change := self._describe_change(old, member):
                self.activity.add("observed", f"{label(member)}  {change}")

    def _describe_change(self, old: MonitorMember, new: MonitorMember) -> str | None:
        if new.status != old.status:
            return f"{old.status} → {new.status}{self._details(old, new)}"
        if new.health_score < old.health_score - 3:
            return f"health {old.health_score} → {new.health_score}"
        return None

    def _details(self, old: MonitorMember, new: MonitorMember) -> str:
        if new.cooldown_until is not None:
            until = format_time(new.cooldown_until, self._state)
            return f" until {until}, health {old.health_score} → {new.health_score}"
        return f", {new.calls_today} of {new.daily_cap} calls" if new.status == "quota_exceeded" else ""

    def _recently_called(self) -> frozenset[int]:
        since = time.monotonic() - HIGHLIGHT_SECONDS
        return frozenset(caller_id for caller_id, at in self._called_at.items() if at > since)
