"""Fills the dashboard before it opens: publishes the calls of today and yesterday, and the flags of the last days.

Older calls would be refused: past_days.py has the days before.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

from msgspec import Struct

from rotary.domain.monitor import Monitor, MonitorMember
from rotary.events import Event, FlagKind, max_age_ms
from rotary.publisher import CallPlaced, EventFactory
from rotary_demo.api_client import ApiClient, ApiError
from rotary_demo.clients import CustomerClient
from rotary_demo.past_days import MOST_CALLS
from rotary_demo.working_day import call_times_today
from rotary_stack.errors import StackError

TIMEOUT_SECONDS = 30.0
POLL_SECONDS = 0.1
MAX_CALL_AGE = timedelta(milliseconds=max_age_ms("calls")) - timedelta(minutes=10)


class PastFlag(Struct, frozen=True):
    """A carrier flag. `ago` counts back from the start of the demo."""

    kind: FlagKind
    ago: timedelta


class CallerHistory(Struct, frozen=True):
    """One caller ID: how many calls of its daily cap are left, its flags, and when its cooldown was last cleared."""

    calls_left: int
    flags: tuple[PastFlag, ...] = ()
    cleared_ago: timedelta | None = None


# Group 3 at the start: six eligible, three in cooldown, two disabled, one over its cap.
_HISTORIES = {
    18: CallerHistory(23),
    19: CallerHistory(4),
    20: CallerHistory(380, (PastFlag("rejected", timedelta(hours=3)),)),
    21: CallerHistory(0),
    22: CallerHistory(34, (PastFlag("blocked", timedelta(days=2)), PastFlag("spam_label", timedelta(days=5)))),
    23: CallerHistory(43, (PastFlag("spam_label", timedelta(hours=2, minutes=10)),)),
    24: CallerHistory(9),
    25: CallerHistory(300, (PastFlag("spam_label", timedelta(days=3)),)),
    # The cooldown of a first complaint is one hour. This one ends soon after the start, without any event.
    26: CallerHistory(31, (PastFlag("user_report", timedelta(minutes=59, seconds=15)),)),
    27: CallerHistory(60, (PastFlag("blocked", timedelta(hours=20)), PastFlag("rejected", timedelta(hours=26)))),
    28: CallerHistory(220, (PastFlag("blocked", timedelta(hours=30)),), cleared_ago=timedelta(hours=9)),
    29: CallerHistory(60, (PastFlag("blocked", timedelta(days=1)), PastFlag("blocked", timedelta(hours=30)))),
}


async def backfill(client: CustomerClient, rng: Random) -> int:
    """Publishes a customer's events before now and waits until the API counts all calls. Returns the number of events.

    Raises StackError on a timeout.
    """
    async with _timeout(f"the calls of {client.customer.name} did not reach the API"):
        monitors = await _monitors(client.api)
        events = list(backfill_events(monitors, client.publisher.events, client.zone, datetime.now(UTC), rng))
        for event in events:
            client.publisher.submit(event)
        await client.publisher.flush()
        midnight = datetime.now(client.zone).replace(hour=0, minute=0, second=0, microsecond=0)
        calls = sum(isinstance(event, CallPlaced) and event.time >= midnight for event in events)
        while _count_calls(await _monitors(client.api)) < calls:  # noqa: ASYNC110  integrators poll the API as well
            await asyncio.sleep(POLL_SECONDS)
    return len(events)


def backfill_events(
    monitors: Iterable[Monitor], events: EventFactory, zone: ZoneInfo, now: datetime, rng: Random
) -> Iterator[Event]:
    """The events of a customer before now. A caller ID in two groups has placed its calls in the first."""
    done = set[int]()
    for monitor in monitors:
        for member in monitor.members:
            if member.caller_id_id in done:
                continue
            done.add(member.caller_id_id)
            history = _HISTORIES.get(member.caller_id_id) or CallerHistory(calls_left=_calls_left(member, rng))
            for time in call_times_today(max(0, member.daily_cap - history.calls_left), zone, now, rng):
                yield events.call_placed(member.caller_id_id, monitor.group_id, random_lead_id(rng), time=time)
            for time in _yesterdays_calls(member, zone, now, rng):
                yield events.call_placed(member.caller_id_id, monitor.group_id, random_lead_id(rng), time=time)
            yield from _flag_events(member, history, events, now)


def _yesterdays_calls(member: MonitorMember, zone: ZoneInfo, now: datetime, rng: Random) -> Iterator[datetime]:
    """A day's calls that are young enough to be accepted."""
    count = 0 if member.status == "disabled" else round(min(member.daily_cap, MOST_CALLS) * rng.uniform(0.3, 0.8))
    midnight = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)
    for time in call_times_today(count, zone, midnight - timedelta(seconds=1), rng):
        if time > now - MAX_CALL_AGE:
            yield time


def random_lead_id(rng: Random) -> str:
    """A lead in the dialer's own database."""
    return f"L-{rng.randint(1, 9999):04}"


def _calls_left(member: MonitorMember, rng: Random) -> int:
    return member.daily_cap if member.status == "disabled" else round(member.daily_cap * rng.uniform(0.5, 0.8))


def _flag_events(member: MonitorMember, history: CallerHistory, events: EventFactory, now: datetime) -> Iterator[Event]:
    for flag in history.flags:
        yield events.carrier_flag(member.caller_id_id, flag.kind, member.carrier, time=now - flag.ago)
    if history.cleared_ago is not None:
        yield events.cooldown_cleared(member.caller_id_id, time=now - history.cleared_ago)


async def _monitors(api: ApiClient) -> list[Monitor]:
    """All monitors of a customer. Waits until its new token and groups have reached the API."""
    while True:
        try:
            return [(await api.monitor(group.id)).monitor for group in await api.groups()]
        except ApiError as error:
            if error.status not in (401, 503):
                raise
        await asyncio.sleep(POLL_SECONDS)


def _count_calls(monitors: list[Monitor]) -> int:
    members = {member.caller_id_id: member for monitor in monitors for member in monitor.members}
    return sum(member.calls_today for member in members.values())


@asynccontextmanager
async def _timeout(failure: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS) as limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise StackError(f"{failure} within {TIMEOUT_SECONDS:.0f} s") from None
