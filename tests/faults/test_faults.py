"""Nothing lost, nothing counted twice, whatever dies: each fault on real processes, under load."""

import pytest

from faults import (
    by_attackers,
    by_dialers,
    on_broker,
    on_consumers,
    on_definitions,
    on_logs,
    on_postgres,
    on_readers,
    on_rebuilds,
    on_redis,
    on_replicas,
    on_the_way,
)
from faults.table import Row
from faults.trial import Fault, trial
from faults.world import World

# What dialers do comes first: whatever is lost later must come back as it was judged at first.
FAULTS = (
    *by_dialers.FAULTS,
    *by_attackers.FAULTS,
    *on_redis.FAULTS,
    *on_rebuilds.FAULTS,
    *on_replicas.FAULTS,
    *on_definitions.FAULTS,
    *on_logs.FAULTS,
    *on_consumers.FAULTS,
    *on_the_way.FAULTS,
    *on_broker.FAULTS,
    *on_postgres.FAULTS,
    *on_readers.FAULTS,
)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "fault", [pytest.param(fault, id=fault.name, marks=[] if fault.short else [pytest.mark.long]) for fault in FAULTS]
)
async def test_every_confirmed_event_counts_once(world: World, fault: Fault, rows: list[Row]) -> None:
    await world.mend()
    outcome = await trial(world, fault)
    rows.append(outcome.row)
    assert not outcome.wrong, outcome.wrong[:5]
