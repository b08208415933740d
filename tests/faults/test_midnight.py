"""Midnight of the customers' zone passes under load: by a shifted clock, in a world of its own."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

import pytest
import pytest_asyncio

from faults.engine_trial import engine_trial
from faults.on_engines import Dialing, EngineFault, day_of, write_picker
from faults.pick_table import PickRow
from faults.processes import Service, free_port, running
from faults.table import Row
from faults.trial import Fault, Strike, trial
from faults.world import CONSUMERS, World, begin, open_servers
from rotary.clock import system_clock
from rotary.domain.facts import QUARTER_MS
from rotary.domain.quota import today
from rotary.redis import picks

ZONE = "Asia/Ho_Chi_Minh"
AHEAD_SECONDS = 30
"""How long before midnight the services start: their customers have had a day's calls by then."""
FEW_CALLERS = 4
"""So few are full within seconds."""


class Evening(NamedTuple):
    """A world shortly before midnight, and the settings that a program needs to live in it."""

    world: World
    settings: Mapping[str, str]


def to_midnight_ms(now_ms: int) -> int:
    _, midnight = today(ZONE, now_ms // QUARTER_MS)
    return midnight * QUARTER_MS - now_ms


@pytest_asyncio.fixture(loop_scope="module")
async def evening() -> AsyncIterator[Evening]:
    """Its services, and its dialers, believe that midnight is near."""
    async with open_servers(services=False) as servers:
        offset = to_midnight_ms(system_clock()()) / 1000 - AHEAD_SECONDS
        clock = {"ROTARY_CLOCK_OFFSET": str(offset)}
        settings = {**servers.stack.service_variables(), **clock}
        api = f"127.0.0.1:{free_port()}"
        consumers = [Service("rotary_consumer", settings)] * CONSUMERS
        query = Service("rotary_query", {**settings, "ROTARY_QUERY_BIND": api})
        async with running(servers.session, *consumers, query) as programs:
            opened = World(servers, f"http://{api}", programs[-1].ops_url, system_clock(offset), ZONE)
            names = [*(f"consumer-{number}" for number in range(1, CONSUMERS + 1)), "query"]
            opened.others |= {name: one.ops_url for name, one in zip(names, programs, strict=True)}
            await begin(opened)
            yield Evening(opened, clock)


async def midnight(strike: Strike) -> None:
    """It passes; then everything is lost, and must be rebuilt as it is today."""
    await _pass_midnight(strike.world)
    await strike.world.redis.flushall()


async def midnight_of_picks(dialing: Dialing) -> None:
    """It passes while every number is full, of calls and of reservations. Each has its cap anew, and nothing more."""
    world, ledger = dialing.world, dialing.load.ledger
    await _pass_midnight(world)
    assert ledger.refusals, "no number was full before midnight"
    await dialing.load.more(400)
    new_day = day_of(world.timezone)(world.clock() / 1000)
    assert any(given.day == new_day for given in ledger.given.values()), "nothing is picked on the new day"


async def _pass_midnight(world: World) -> None:
    before_ms = to_midnight_ms(world.clock())
    assert before_ms < AHEAD_SECONDS * 1000, "midnight has passed before the load began"
    await asyncio.sleep(before_ms / 1000 + 3)
    assert to_midnight_ms(world.clock()) > AHEAD_SECONDS * 1000


@pytest.mark.long
@pytest.mark.asyncio(loop_scope="module")
async def test_midnight_passes_under_load(evening: Evening, rows: list[Row]) -> None:
    outcome = await trial(evening.world, Fault("midnight passes, then FLUSHALL", midnight, readable=False))
    rows.append(outcome.row)
    assert not outcome.wrong, outcome.wrong[:5]


@pytest.mark.long
@pytest.mark.asyncio(loop_scope="module")
async def test_midnight_passes_while_64_clients_pick(evening: Evening, pick_rows: list[PickRow]) -> None:
    await picks.open_picks(evening.world.redis)
    fault = EngineFault("midnight in the customer's zone", midnight_of_picks)
    picker = await write_picker(evening.world, 90, FEW_CALLERS)
    await engine_trial(evening.world, fault, pick_rows, picker, evening.settings)
