"""Two engines and 64 clients, a fault, and what the ledger says of it."""

import asyncio
import time
from collections.abc import Mapping

from faults.on_engines import Dialing, EngineFault, day_of, reservations, two_engines
from faults.pick_table import PickRow
from faults.picking import PICK_TTL_SECONDS, Picker, PickLoad
from faults.processes import with_skewed_clock
from faults.world import World, until

PICKS_BEFORE, PICKS_AFTER = 300, 200


async def engine_trial(
    world: World, fault: EngineFault, pick_rows: list[PickRow], picker: Picker, common: Mapping[str, str]
) -> None:
    """Adds a row, or fails. Both engines have the settings `common`, and the second one the clock of the fault."""
    clock = await with_skewed_clock(fault.clock_error_seconds)
    async with two_engines(world, common, {**common, **clock}) as engines:
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
