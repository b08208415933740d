"""The laws of the six strategies, on the function that production runs."""

from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from integration.picks_world import PicksWorld, picks_world
from pick_groups import group, member
from rotary.definitions import RotationStrategy

pytestmark = pytest.mark.asyncio(loop_scope="function")


@pytest_asyncio.fixture(loop_scope="function")
async def world(redis_url: str) -> AsyncIterator[PicksWorld]:
    async with picks_world(redis_url) as one:
        yield one


@pytest.mark.parametrize("size", [1, 2, 5, 12])
async def test_round_robin_any_k_times_n_consecutive_picks_give_each_member_k(world: PicksWorld, size: int) -> None:
    await world.define(group([member(number) for number in range(1, size + 1)]))
    chosen = await world.callers(4 * size + 3)
    for begin in range(len(chosen) - 2 * size):
        assert set(Counter(chosen[begin : begin + 2 * size]).values()) == {2}


async def test_weighted_any_sum_of_weights_consecutive_picks_give_each_member_its_weight(world: PicksWorld) -> None:
    weights = {1: 5, 2: 1, 3: 1, 4: 3}
    await world.define(group([member(one, weight=weight) for one, weight in weights.items()], "weighted"))
    chosen = await world.callers(60)
    for begin in range(60 - 10):
        assert Counter(chosen[begin : begin + 10]) == weights


async def test_least_used_is_a_member_with_the_fewest_used_the_least_recently_picked_first(world: PicksWorld) -> None:
    await world.define(group([member(1), member(2), member(3)], "least_used"))
    await world.call(1, number=2)
    await world.call(2)
    assert await world.callers(6) == [3, 2, 3, 1, 2, 3]


async def test_cap_based_is_the_largest_share_left(world: PicksWorld) -> None:
    await world.define(group([member(1, daily_cap=10), member(2, daily_cap=5)], "cap_based"))
    assert await world.callers(6) == [1, 2, 1, 2, 1, 1]


async def test_random_gives_each_eligible_member_the_same_chance(world: PicksWorld) -> None:
    size, draws = 8, 20_000
    members = [member(number, daily_cap=10**6) for number in range(1, size + 1)]
    await world.define(group([*members, member(9, status="disabled"), member(10, daily_cap=1)], "random"))
    await world.call(10)
    counts: Counter[int] = Counter()
    for _ in range(draws // 500):
        counts.update(await world.callers(500))
    assert set(counts) == set(range(1, size + 1))
    chi_square = sum((count - draws / size) ** 2 / (draws / size) for count in counts.values())
    assert chi_square < 29.9, "beyond that lies one in ten thousand, with seven degrees of freedom"


async def test_sticky_lead_is_least_used_for_a_leads_first_pick_and_the_same_from_then_on(world: PicksWorld) -> None:
    await world.define(group([member(1), member(2), member(3)], "sticky_lead"))
    await world.call(1)
    first = await world.pick(lead_id="L-1")
    assert (first.caller_id_id, first.reason) == (2, "least_used")
    again = [await world.pick(lead_id="L-1") for _ in range(3)]
    assert {(one.caller_id_id, one.reason) for one in again} == {(2, "sticky")}
    assert (await world.pick(lead_id="L-2")).caller_id_id == 3


async def test_weighted_turns_are_spread_evenly(world: PicksWorld) -> None:
    await world.define(group([member(1, weight=6), member(2, weight=2), member(3, weight=2)], "weighted"))
    chosen = await world.callers(100)
    for caller, weight in {1: 6, 2: 2, 3: 2}.items():
        for picks in range(1, 101):
            assert abs(chosen[:picks].count(caller) - picks * weight / 10) <= 1.5


@pytest.mark.parametrize("strategy", ["round_robin", "weighted"])
async def test_the_law_holds_for_those_that_stay_when_others_leave(
    world: PicksWorld, strategy: RotationStrategy
) -> None:
    weights = {1: 1, 2: 3, 3: 2} if strategy == "weighted" else {1: 1, 2: 1, 3: 1}
    members = [member(one, weight=weight) for one, weight in weights.items()]
    await world.define(group([*members, member(4, daily_cap=2), member(5)], strategy))
    await world.callers(4)
    await world.flag(5)
    await world.callers(10)
    chosen = await world.callers(60)
    total = sum(weights.values())
    for begin in range(60 - total):
        assert Counter(chosen[begin : begin + total]) == weights


async def test_the_round_goes_on_across_engines_and_midnight(world: PicksWorld) -> None:
    await world.define(group([member(number) for number in range(1, 6)]))
    chosen = []
    for _ in range(5):
        chosen += [(await world.pick(engine)).caller_id_id for engine in (world.engine, world.another())]
        await world.wait(7 * 3_600_000)
    for begin in range(len(chosen) - 5):
        assert len(set(chosen[begin : begin + 5])) == 5
