"""A reader that never looks away: whatever breaks, the API says the truth, how old it is, or 503 and when to return."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
import msgspec
from msgspec import Struct

from faults.definitions import Customer
from faults.ledger import Ledger
from rotary.clock import Clock
from rotary.domain.facts import QUARTER_MS
from rotary.domain.monitor import Monitor, MonitorMember
from rotary.domain.quota import today

LONGEST_SECONDS = 5.0
"""No answer may take longer, on a machine that is busy with everything else; how quick a 503 is, is a fault's own."""


OLDEST_MS = 1_500
"""How old an answer may be: it is made anew after a second."""
GRACE_SECONDS = 2.0
"""What was confirmed so long before the age that `X-Projection-Lag` tells must be in an answer."""
CLOCKS_DIFFER_MS = 360_000
"""By how much at most the query service's clock is ahead of ours: so long before its end a rest is no more sure."""


class _Body(Struct):
    data: Monitor


class _List(Struct):
    data: list[object]


class _Named(Struct):
    display_name: str | None


class _Detail(Struct):
    caller_ids: list[_Named]


class _DetailBody(Struct):
    data: _Detail


class _Failure(Struct):
    message: str


class Reading(Struct, frozen=True):
    """One answer: when it had arrived (monotonic seconds), how long it took, and what it was."""

    at: float
    seconds: float
    path: str
    status: int
    message: str = ""
    retry_after: int = 0
    lag_seconds: int = 0
    monitor: Monitor | None = None
    listed: int = 0
    """How many groups a list holds."""

    @property
    def asked_at(self) -> float:
        return self.at - self.seconds

    @property
    def is_monitor(self) -> bool:
        return self.path.endswith("/monitor")


class Api:
    """Asks the query service as a customer."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session

    async def groups(self, customer: Customer) -> Reading:
        return await self._ask(customer, "")

    async def monitor(self, customer: Customer, group: int) -> Reading:
        return await self._ask(customer, f"/{group}/monitor")

    async def display_names(self, customer: Customer, group: int) -> set[str | None]:
        """The different names of the group's members."""
        async with self.session.get(
            f"{self.url}/api/caller-id-groups/{group}", headers={"Authorization": f"Bearer {customer.token}"}
        ) as response:
            assert response.status == 200
            detail = msgspec.json.decode(await response.read(), type=_DetailBody).data
            return {member.display_name for member in detail.caller_ids}

    async def _ask(self, customer: Customer, path: str) -> Reading:
        began = time.monotonic()
        async with self.session.get(
            f"{self.url}/api/caller-id-groups{path}",
            headers={"Authorization": f"Bearer {customer.token}"},
            timeout=aiohttp.ClientTimeout(LONGEST_SECONDS),
        ) as response:
            body, ended = await response.read(), time.monotonic()
        taken, status = ended - began, response.status
        if status == 200:
            lag = int(response.headers.get("X-Projection-Lag", "0"))
            if path.endswith("/monitor"):
                monitor = msgspec.json.decode(body, type=_Body).data
                return Reading(ended, taken, path, 200, lag_seconds=lag, monitor=monitor)
            return Reading(ended, taken, path, 200, listed=len(msgspec.json.decode(body, type=_List).data))
        again = int(response.headers.get("Retry-After", "0"))
        return Reading(ended, taken, path, status, msgspec.json.decode(body, type=_Failure).message, again)


class Watch:
    """Every reading, what was wrong with those that were wrong, and in `stale` what was older than it said."""

    def __init__(self, ledger: Ledger, timezone: str, clock: Clock) -> None:
        self._ledger = ledger
        self._timezone = timezone
        self._clock = clock
        self.readings: list[Reading] = []
        self.wrong: list[str] = []
        self.stale: list[str] = []

    def take(self, customer: Customer, reading: Reading) -> None:
        self.readings.append(reading)
        if reading.monitor is not None:
            found = self._untrue(customer, reading.monitor, self.days(reading.seconds))
            self.wrong += [f"{reading.path}: {what}" for what in found]
            before = reading.asked_at - reading.lag_seconds - GRACE_SECONDS
            if missing := self.missing(customer, reading.monitor, before, self.days(reading.seconds)):
                asked = datetime.fromtimestamp(time.time() - (time.monotonic() - reading.asked_at), UTC)
                self.stale.append(
                    f"{reading.path}, asked at {asked:%H:%M:%S.%f}, answered after {reading.seconds:.2f} s with lag "
                    f"{reading.lag_seconds}: {'; '.join(missing[:3])}"
                )
        elif reading.status != 200 and not (reading.status == 503 and reading.retry_after):
            what = f"{reading.status} {reading.message!r}, retry after {reading.retry_after}"
            self.wrong.append(f"{reading.path}: {what}")

    def missing(self, customer: Customer, monitor: Monitor, before: float, days: set[tuple[int, int]]) -> list[str]:
        """What was confirmed before a moment (monotonic seconds) and is not shown."""
        found = []
        sure_ms = self._clock() + CLOCKS_DIFFER_MS
        for member in monitor.members:
            due = [self._ledger.due(customer.id, member.caller_id_id, day, before, sure_ms) for day in days]
            least = min(one.calls for one in due)
            if member.calls_today < least:
                found.append(f"{member.caller_id_id} has {member.calls_today} calls, not {least}")
            if due[0].rests and member.status != "cooldown":
                found.append(f"{member.caller_id_id} rests, shown as {member.status}")
        return found

    def days(self, seconds: float) -> set[tuple[int, int]]:
        """The customers' today when it was asked, a second before, for which an answer may be kept, and now."""
        now_ms = self._clock()
        moments_ms = (now_ms - int(seconds * 1000) - OLDEST_MS, now_ms)
        return {today(self._timezone, moment_ms // QUARTER_MS) for moment_ms in moments_ms}

    def _untrue(self, customer: Customer, monitor: Monitor, days: set[tuple[int, int]]) -> list[str]:
        found = []
        for member in monitor.members:
            caller = (customer.id, member.caller_id_id)
            most = max(self._ledger.calls_sent(*caller, *day) for day in days)
            if member.calls_today > most:
                found.append(f"caller ID {caller}: calls_today {member.calls_today}, at most {most} were sent")
            found += _falsely_eligible(customer, member)
        return found


def _falsely_eligible(customer: Customer, member: MonitorMember) -> list[str]:
    if (
        member.caller_id_id == customer.spent
        and member.calls_today
        and member.status not in ("quota_exceeded", "cooldown")
    ):
        return [f"caller ID {member.caller_id_id} is over its cap, shown as {member.status}"]
    return []


@asynccontextmanager
async def watching(api: Api, customers: list[Customer], watch: Watch) -> AsyncIterator[Watch]:
    """Asks for every list and every monitor, over and over, while the block lasts."""
    async with in_background(watch, *(_look_on(api, customer, watch) for customer in customers)):
        yield watch


@asynccontextmanager
async def in_background(watch: Watch, *work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Runs what has no end of its own while the block lasts; a defect in it is something wrong."""
    tasks = [asyncio.create_task(_without_end(watch, one)) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _without_end(watch: Watch, work: Coroutine[None, None, None]) -> None:
    try:
        await work
    except Exception as error:  # noqa: BLE001  # whatever it is
        watch.wrong.append(f"a reader met {error!r} at {datetime.now(UTC):%H:%M:%S.%f}")
    else:
        watch.wrong.append("a reader ended")


async def _look_on(api: Api, customer: Customer, watch: Watch) -> None:
    while True:
        watch.take(customer, await api.groups(customer))
        for group in customer.groups:
            watch.take(customer, await api.monitor(customer, group))
            await asyncio.sleep(0.05)
