"""Whatever fails: no cap is passed, nothing that rests is picked, no id is given twice, nothing stays reserved."""

from itertools import count

import pytest

from faults.engine_trial import engine_trial
from faults.on_engines import ENGINE_FAULTS, EngineFault, write_picker
from faults.pick_table import PickRow
from faults.world import World

_numbers = count(1)


@pytest.mark.long
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("fault", ENGINE_FAULTS, ids=[one.name for one in ENGINE_FAULTS])
async def test_no_fault_of_the_engine_breaks_a_promise(
    world: World, fault: EngineFault, pick_rows: list[PickRow]
) -> None:
    await world.mend()
    await engine_trial(world, fault, pick_rows, await write_picker(world, next(_numbers)), {})
