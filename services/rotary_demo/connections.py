"""What the demo reaches a customer by, and how it is given a past."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from random import Random
from zoneinfo import ZoneInfo

import aiohttp
from msgspec import Struct

from rotary.domain.monitor import Monitor
from rotary.publisher import CallPlaced, Limits, Publisher
from rotary_demo.api_client import Api, ApiError
from rotary_demo.backfill import history
from rotary_demo.seed import Customer
from rotary_stack.errors import StackError

API_TIMEOUT = aiohttp.ClientTimeout(total=3)
# A broker that somebody has killed must not hold up the end for long.
LIMITS = Limits(deadline_seconds=5)
PATIENCE_SECONDS = 30.0
LOOK_AGAIN_SECONDS = 0.1


class Site(Struct, frozen=True):
    """One customer, an API reader and a publisher of its own."""

    customer: Customer
    zone: ZoneInfo
    api: Api
    publisher: Publisher


async def open_sites(opened: AsyncExitStack, customers: list[Customer], api_url: str, rabbitmq_url: str) -> list[Site]:
    """Connects each customer's dialer; `opened` closes what it holds."""
    session = await opened.enter_async_context(aiohttp.ClientSession(timeout=API_TIMEOUT))
    sites = []
    for customer in customers:
        source = f"/dialers/{customer.name.partition(' ')[0].lower()}-1"
        publisher = Publisher(rabbitmq_url, customer_id=customer.id, source=source, limits=LIMITS)
        await opened.enter_async_context(publisher)
        api = Api(session, api_url, customer.inner_token)
        sites.append(Site(customer, ZoneInfo(customer.timezone), api, publisher))
    return sites


async def give_past(site: Site, chance: Random) -> int:
    """Publishes what the customer did before now; returns, when the API shows all of it, how many events that was.

    Raises StackError when that takes too long.
    """
    async with _patience(f"the calls of {site.customer.name} did not reach the API"):
        source = site.publisher.events
        events = list(history(await _monitors(site.api), source, site.zone, datetime.now(UTC), chance))
        for event in events:
            site.publisher.submit(event)
        await site.publisher.flush()
        calls = sum(isinstance(event, CallPlaced) for event in events)
        while _calls(await _monitors(site.api)) < calls:  # noqa: ASYNC110  the API is polled, as integrators do
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
    return len(events)


async def _monitors(api: Api) -> list[Monitor]:
    """All of a customer's monitors, as soon as its token and its groups, just created, have reached the API."""
    while True:
        try:
            return [(await api.monitor(group.id)).monitor for group in await api.groups()]
        except ApiError as error:
            if error.status not in (401, 503):
                raise
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


def _calls(monitors: list[Monitor]) -> int:
    members = {member.caller_id_id: member for monitor in monitors for member in monitor.members}
    return sum(member.calls_today for member in members.values())


@asynccontextmanager
async def _patience(failure: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS) as limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise StackError(f"{failure} within {PATIENCE_SECONDS:.0f} s") from None
