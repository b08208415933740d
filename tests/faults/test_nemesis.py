"""Whatever fails, two things at a time: nothing lost, nothing counted twice, nothing old shown as fresh."""

from functools import partial

import pytest

from faults.nemesis import let_loose, rounds
from faults.table import Row
from faults.trial import Fault, Strike, trial
from faults.world import World


def test_a_seed_repeats_the_rounds() -> None:
    first, again, other = rounds(7), rounds(7), rounds(8)
    drawn = [next(first) for _ in range(50)]
    assert drawn == [next(again) for _ in range(50)]
    assert drawn != [next(other) for _ in range(50)]
    assert all(len({stroke.weapon.target for stroke in one.strokes}) == len(one.strokes) for one in drawn)


async def _strike(strike: Strike, seed: int, seconds: int) -> None:
    await let_loose(strike, seed, seconds)


@pytest.mark.long
@pytest.mark.asyncio(loop_scope="module")
async def test_nothing_is_lost_to_the_nemesis(world: World, seed: int, nemesis_seconds: int, rows: list[Row]) -> None:
    await world.mend()
    strike = partial(_strike, seed=seed, seconds=nemesis_seconds)
    outcome = await trial(world, Fault(f"nemesis, {nemesis_seconds} s, seed {seed}", strike, readable=False))
    rows.append(outcome.row)
    assert not outcome.wrong, outcome.wrong[:5]
