"""Reads one group's monitor again and again, and notices what changed."""

import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from rotary.domain.monitor import MonitorMember
from rotary_demo.activity import News
from rotary_demo.api_client import Api, ApiError, Reading
from rotary_demo.dashboard import View, clock
from rotary_demo.dialer import named

RATE_SECONDS = 10.0
FLASH_SECONDS = 0.8


class Watch:
    """One watcher of one group. `confirmed` tells how many events the broker has confirmed so far."""

    def __init__(self, api: Api, first: Reading, zone: ZoneInfo, news: News, confirmed: Callable[[], int]) -> None:
        self.news = news
        self._api = api
        self._view = View(first, zone, datetime.now(UTC), confirmed(), 0.0, news=news.newest)
        self._confirmed = confirmed
        self._counts = deque([(time.monotonic(), confirmed())])
        self._called: dict[int, float] = {}

    async def look(self) -> View:
        """Reads the monitor; what the API cannot tell now is shown as it was, with the trouble."""
        trouble, reading = None, self._view.reading
        try:
            reading = await self._api.monitor(reading.monitor.group_id)
        except ApiError as error:
            trouble = str(error)
        self._compare(self._view.reading, reading)
        self._view = replace(
            self._view,
            reading=reading,
            now=datetime.now(UTC),
            confirmed=self._confirmed(),
            a_second=self._rate(),
            changed=self._lately_called(),
            trouble=trouble,
        )
        return self._view

    def _rate(self) -> float:
        now = time.monotonic()
        self._counts.append((now, self._confirmed()))
        while len(self._counts) > 2 and self._counts[0][0] < now - RATE_SECONDS:
            self._counts.popleft()
        (began, before), (ended, after) = self._counts[0], self._counts[-1]
        return (after - before) / (ended - began) if ended > began else 0.0

    def _compare(self, before: Reading, after: Reading) -> None:
        known = {member.caller_id_id: member for member in before.monitor.members}
        for member in after.monitor.members:
            old = known.get(member.caller_id_id, member)
            if member.calls_today != old.calls_today:
                self._called[member.caller_id_id] = time.monotonic()
            if change := self._change(old, member):
                self.news.tell("seen", f"{named(member)}  {change}")

    def _change(self, old: MonitorMember, new: MonitorMember) -> str | None:
        if new.status != old.status:
            return f"{old.status} ▸ {new.status}{self._why(old, new)}"
        if new.health_score < old.health_score - 3:
            return f"health {old.health_score} ▸ {new.health_score}"
        return None

    def _why(self, old: MonitorMember, new: MonitorMember) -> str:
        if new.cooldown_until is not None:
            return f" until {clock(new.cooldown_until, self._view)}, health {old.health_score} ▸ {new.health_score}"
        return f", {new.calls_today} of {new.daily_cap} calls" if new.status == "quota_exceeded" else ""

    def _lately_called(self) -> frozenset[int]:
        since = time.monotonic() - FLASH_SECONDS
        return frozenset(caller_id for caller_id, at in self._called.items() if at > since)
