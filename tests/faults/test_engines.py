"""Whatever fails: no cap is passed, nothing that rests is picked, no id is given twice, nothing stays reserved."""

import asyncio
import time
from collections.abc import AsyncIterator
from itertools import count

import pytest
import pytest_asyncio

from faults.on_engines import (
    ENGINE_FAULTS,
    Dialing,
    EngineFault,
    day_of,
    reservations,
    two_engines,
    write_picker,
)
from faults.pick_table import PickRow
from faults.picking import PICK_TTL_SECONDS, Picker, PickLoad
from faults.world import World, open_world, until

PICKS_BEFORE, PICKS_AFTER = 300, 200
_numbers = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    async with open_world() as opened:
        yield opened


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "fault", [pytest.param(one, id=one.name, marks=[] if one.short else [pytest.mark.long]) for one in ENGINE_FAULTS]
)
async def test_no_fault_of_the_engine_breaks_a_promise(
    world: World, fault: EngineFault, pick_rows: list[PickRow]
) -> None:
    settings = fault.settings()
    await world.mend()
    picker = await write_picker(world, next(_numbers))
    async with two_engines(world, settings) as engines:
        urls = [engine.url for engine in engines]
        load = PickLoad(world.session, urls, world.rabbitmq_url, picker, world.clock, day_of(world.timezone))
        load.start()
        try:
            await load.more(PICKS_BEFORE)
            await fault.strike(Dialing(world, load, picker, engines))
            ended = time.monotonic()
            await load.more(PICKS_AFTER)
            seconds = time.monotonic() - ended
        finally:
            await load.finish()
        left = await _left_behind(world, load, picker)
    wrong = load.ledger.verdict()
    pick_rows.append(
        PickRow(fault.name, len(load.ledger.given), load.ledger.refusals, load.ledger.closed, *wrong, left, seconds)
    )
    assert (wrong, left) == ((0, 0, 0), 0)


async def _left_behind(world: World, load: PickLoad, picker: Picker) -> int:
    """Reservations that are there although every pick has expired."""
    await asyncio.sleep(PICK_TTL_SECONDS + 1)

    async def is_settled() -> bool:
        return await load.settles() and await reservations(world, picker) <= 1  # the one that it has just made

    try:
        await until(is_settled, "reservations have ended", 20)
    except AssertionError:
        return await reservations(world, picker)
    return 0
