"""A reader that never looks away: whatever breaks, the API says the truth, or 503 and when to ask again."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
import msgspec
from msgspec import Struct

from faults.definitions import Customer
from faults.ledger import Ledger
from rotary.clock import Clock
from rotary.domain.facts import QUARTER_MS, DayCounts
from rotary.domain.monitor import Monitor, MonitorMember
from rotary.domain.quota import calls_between, today

LONGEST_SECONDS = 5.0
"""No answer may take longer, on a machine that is busy with everything else; how quick a 503 is, is a fault's own."""


OLDEST_MS = 1_500
"""How old an answer may be: it is made anew after a second."""

AtRest = Mapping[tuple[int, int], DayCounts]


class _Body(Struct):
    data: Monitor


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

    @property
    def is_monitor(self) -> bool:
        return self.path.endswith("/monitor")


class Api:
    """Asks the query service as a customer."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session

    async def groups(self, customer: Customer) -> Reading:
        return await self._ask(customer, "")

    async def monitor(self, customer: Customer, group: int) -> Reading:
        return await self._ask(customer, f"/{group}/monitor")

    async def _ask(self, customer: Customer, path: str) -> Reading:
        began = time.monotonic()
        async with self._session.get(
            f"{self._url}/api/caller-id-groups{path}",
            headers={"Authorization": f"Bearer {customer.token}"},
            timeout=aiohttp.ClientTimeout(LONGEST_SECONDS),
        ) as response:
            body, ended = await response.read(), time.monotonic()
        taken, status = ended - began, response.status
        if status == 200:
            lag = int(response.headers.get("X-Projection-Lag", "0"))
            found = msgspec.json.decode(body, type=_Body).data if path.endswith("/monitor") else None
            return Reading(ended, taken, path, 200, lag_seconds=lag, monitor=found)
        again = int(response.headers.get("Retry-After", "0"))
        return Reading(ended, taken, path, status, msgspec.json.decode(body, type=_Failure).message, again)


class Watch:
    """Every reading, and what was wrong with those that were wrong.

    `at_rest` has the calls by (customer, caller ID) that were in Redis, confirmed, before anything broke.
    """

    def __init__(self, ledger: Ledger, at_rest: AtRest, timezone: str, clock: Clock) -> None:
        self._ledger = ledger
        self._at_rest = at_rest
        self._timezone = timezone
        self._clock = clock
        self.readings: list[Reading] = []
        self.wrong: list[str] = []

    def take(self, customer: Customer, reading: Reading) -> None:
        self.readings.append(reading)
        if reading.monitor is not None:
            found = self._untrue(customer, reading.monitor, self._days(reading.seconds))
            self.wrong += [f"{reading.path}: {what}" for what in found]
        elif reading.status != 200 and not (reading.status == 503 and reading.retry_after):
            what = f"{reading.status} {reading.message!r}, retry after {reading.retry_after}"
            self.wrong.append(f"{reading.path}: {what}")

    def _days(self, seconds: float) -> set[tuple[int, int]]:
        """The customers' today when it was asked, a second before, for which an answer may be kept, and now."""
        now_ms = self._clock()
        moments_ms = (now_ms - int(seconds * 1000) - OLDEST_MS, now_ms)
        return {today(self._timezone, moment_ms // QUARTER_MS) for moment_ms in moments_ms}

    def _untrue(self, customer: Customer, monitor: Monitor, days: set[tuple[int, int]]) -> list[str]:
        found = []
        for member in monitor.members:
            caller = (customer.id, member.caller_id_id)
            least = min(calls_between(self._at_rest.get(caller, {}), *day) for day in days)
            most = max(self._ledger.calls_sent(*caller, *day) for day in days)
            if not least <= member.calls_today <= most:
                found.append(f"caller ID {caller}: calls_today {member.calls_today}, not {least} to {most}")
            found += _falsely_eligible(customer, member)
        return found


def _falsely_eligible(customer: Customer, member: MonitorMember) -> list[str]:
    if member.caller_id_id == customer.resting and member.status != "cooldown":
        return [f"caller ID {member.caller_id_id} rests, shown as {member.status}"]
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
    tasks = [asyncio.create_task(_look_on(api, customer, watch)) for customer in customers]
    try:
        yield watch
    finally:
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(outcome, asyncio.CancelledError):
                watch.wrong.append(f"a reader met {outcome!r}")


async def _look_on(api: Api, customer: Customer, watch: Watch) -> None:
    while True:
        watch.take(customer, await api.groups(customer))
        for group in customer.groups:
            watch.take(customer, await api.monitor(customer, group))
            await asyncio.sleep(0.05)
