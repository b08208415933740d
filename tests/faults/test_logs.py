"""Logs that lose what they must keep, in a world of their own: no other fault can read again what is lost there."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from faults.on_logs import LOSSES, use_small_segments
from faults.table import Row
from faults.trial import Fault, trial
from faults.world import World, begin, open_servers, world_of


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    async with open_servers(services=True) as servers:
        opened = world_of(servers)
        await use_small_segments(opened)
        await begin(opened)
        yield opened


@pytest.mark.long
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("fault", [pytest.param(fault, id=fault.name) for fault in LOSSES])
async def test_a_log_that_lost_events_is_never_vouched_for(world: World, fault: Fault, rows: list[Row]) -> None:
    await world.mend()
    outcome = await trial(world, fault)
    rows.append(outcome.row)
    assert not outcome.wrong, outcome.wrong[:5]
