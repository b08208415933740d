"""Nothing lost, nothing counted twice, whatever dies: each fault on real processes, under load."""

import pytest

from faults import on_redis
from faults.table import Row
from faults.trial import Fault, trial
from faults.world import World

FAULTS = (*on_redis.FAULTS,)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "fault", [pytest.param(fault, id=fault.name, marks=[] if fault.short else [pytest.mark.long]) for fault in FAULTS]
)
async def test_every_confirmed_event_counts_once(world: World, fault: Fault, rows: list[Row]) -> None:
    outcome = await trial(world, fault)
    rows.append(outcome.row)
    assert not outcome.wrong, outcome.wrong[:5]
