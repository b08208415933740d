"""Midnight of the customers' zone passes under load: by a shifted clock, in a world of its own."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from faults.processes import Service, free_port, running
from faults.table import Row
from faults.trial import Fault, Strike, trial
from faults.world import CONSUMERS, World, begin, open_servers
from rotary.clock import system_clock
from rotary.domain.facts import QUARTER_MS
from rotary.domain.quota import today

ZONE = "Asia/Ho_Chi_Minh"
AHEAD_SECONDS = 20
"""How long before midnight the services start: their customers have had a day's calls by then."""


def to_midnight_ms(now_ms: int) -> int:
    _, midnight = today(ZONE, now_ms // QUARTER_MS)
    return midnight * QUARTER_MS - now_ms


@pytest_asyncio.fixture(loop_scope="module")
async def world() -> AsyncIterator[World]:
    """Its services, and its dialers, believe that midnight is near."""
    async with open_servers(services=False) as servers:
        offset = to_midnight_ms(system_clock()()) / 1000 - AHEAD_SECONDS
        settings = {**servers.stack.service_variables(), "ROTARY_CLOCK_OFFSET": str(offset)}
        api = f"127.0.0.1:{free_port()}"
        consumers = [Service("rotary_consumer", settings)] * CONSUMERS
        query = Service("rotary_query", {**settings, "ROTARY_QUERY_BIND": api})
        async with running(servers.session, *consumers, query) as programs:
            opened = World(servers, f"http://{api}", programs[-1].ops_url, system_clock(offset), ZONE)
            names = [*(f"consumer-{number}" for number in range(1, CONSUMERS + 1)), "query"]
            opened.others |= {name: one.ops_url for name, one in zip(names, programs, strict=True)}
            await begin(opened)
            yield opened


async def midnight(strike: Strike) -> None:
    """It passes; then everything is lost, and must be rebuilt as it is today."""
    world = strike.world
    before_ms = to_midnight_ms(world.clock())
    assert before_ms < AHEAD_SECONDS * 1000, "midnight has passed before the load began"
    await asyncio.sleep(before_ms / 1000 + 3)
    assert to_midnight_ms(world.clock()) > AHEAD_SECONDS * 1000
    await world.redis.flushall()


@pytest.mark.long
@pytest.mark.asyncio(loop_scope="module")
async def test_midnight_passes_under_load(world: World, rows: list[Row]) -> None:
    outcome = await trial(world, Fault("midnight passes, then FLUSHALL", midnight, readable=False))
    rows.append(outcome.row)
    assert not outcome.wrong, outcome.wrong[:5]
