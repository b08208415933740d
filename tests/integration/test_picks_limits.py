"""What a pick never passes: caps under any concurrency, hours, gaps, rests; and what a reservation counts for."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from random import Random

import pytest
import pytest_asyncio

from integration.picks_world import CUSTOMER, PicksWorld, picks_world
from pick_groups import GROUP, TIMEZONE, group, member
from rotary.domain.facts import QUARTER_MS
from rotary.domain.quota import today
from rotary.domain.rotation.outcomes import NothingEligible, Outcome, Picked, PickRequest
from rotary.policy import Policy, WarmUpStep
from rotary.redis import keys
from rotary.redis.pick_plans import slices
from rotary.redis.picks import KEPT_BUSY, PICKS_AT_ONCE

pytestmark = pytest.mark.asyncio(loop_scope="function")

HOUR = 3_600_000


@pytest_asyncio.fixture(loop_scope="function")
async def world(redis_url: str) -> AsyncIterator[PicksWorld]:
    async with picks_world(redis_url) as one:
        yield one


async def test_sixty_four_clients_of_three_engines_get_just_as_many_picks_as_the_caps_allow(world: PicksWorld) -> None:
    await world.define(group([member(number, daily_cap=50) for number in range(1, 13)]))
    engines = [world.engine, world.another(), world.another()]
    found: list[Outcome] = []

    async def client(at: int) -> None:
        for _ in range(12):
            found.extend(await engines[at % 3].pick(CUSTOMER, GROUP, [PickRequest()]))

    await asyncio.gather(*(client(at) for at in range(64)))
    picked = [one for one in found if isinstance(one, Picked)]
    assert Counter(one.caller_id_id for one in picked) == dict.fromkeys(range(1, 13), 50)
    assert len({one.id for one in picked}) == 600
    refused = [one for one in found if isinstance(one, NothingEligible)]
    assert {tuple(one.reasons.items()) for one in refused} == {(("quota_exceeded", 12),)}


async def test_concurrent_picks_share_calls_of_the_function(world: PicksWorld) -> None:
    await world.define(group([member(1)]))
    await world.pick()
    before = world.engine.calls
    await asyncio.gather(*(world.pick() for _ in range(2 * PICKS_AT_ONCE)))
    assert world.engine.calls - before <= KEPT_BUSY + 2


@pytest.mark.parametrize("cap", [1, 100])
async def test_a_pick_finds_its_way_through_thousands_whose_turn_has_changed(world: PicksWorld, cap: int) -> None:
    size, random = 9_000, Random(20260606)
    rare = set(random.sample(range(1, size + 1), 5))
    members = [member(one, daily_cap=100 if one in rare else cap) for one in range(1, size + 1)]
    await world.define(group(members, "least_used"))
    await world.engine.release(CUSTOMER, (await world.pick()).id)
    calls = [one for one in range(1, size + 1) for _ in range(1 if one in rare else random.randint(2, 5))]
    random.shuffle(calls)
    for some in slices(calls, 2_000):
        await world.calls(some)
    assert set(await world.callers(5)) == rare
    if cap == 1:
        refused = await world.refusal(exclude=tuple(rare))
        assert refused.reasons == {"quota_exceeded": size - 5, "excluded": 5}


async def test_a_reservation_becomes_its_call_and_counts_once(world: PicksWorld) -> None:
    await world.define(group([member(1, daily_cap=2)]))
    first = await world.pick()
    await world.call(1, first.id)
    await world.pick()
    assert (await world.refusal()).reasons == {"quota_exceeded": 1}


async def test_a_reservation_that_was_not_confirmed_is_given_back_when_it_expires(world: PicksWorld) -> None:
    await world.define(group([member(1, daily_cap=1)]))
    first = await world.pick()
    refused = await world.refusal()
    assert refused == NothingEligible({"quota_exceeded": 1}, first.expires_at_ms)
    await world.wait(31_000)
    assert (await world.pick()).caller_id_id == 1


async def test_a_reservation_lives_until_the_facts_are_complete_up_to_its_end(world: PicksWorld) -> None:
    """The consumer is behind: the call that confirms it may be on its way."""
    await world.define(group([member(1, daily_cap=1)]))
    first = await world.pick()
    await world.wait(28_000)
    await world.advance(lag_ms=0)
    world.offset_ms += 3_000
    world.engine._offset_ms = world.offset_ms  # noqa: SLF001  # time passes, and nothing is folded
    await world.advance(lag_ms=5_000)
    assert isinstance((await world.outcomes())[0], NothingEligible)
    await world.call(1, first.id)
    assert isinstance((await world.outcomes())[0], NothingEligible)


async def test_a_late_confirmation_is_a_call_all_the_same(world: PicksWorld) -> None:
    await world.define(group([member(1, daily_cap=2)]))
    late = await world.pick()
    await world.wait(31_000)
    await world.pick()
    await world.call(1, late.id)
    assert (await world.refusal()).reasons == {"quota_exceeded": 1}


async def test_release_gives_back_once_and_never_what_was_confirmed(world: PicksWorld) -> None:
    await world.define(group([member(1, daily_cap=2)]))
    first, second = await world.pick(), await world.pick()
    await world.call(1, first.id)
    assert not await world.engine.release(CUSTOMER, first.id)
    assert await world.engine.release(CUSTOMER, second.id)
    assert not await world.engine.release(CUSTOMER, second.id)
    assert not await world.engine.release(CUSTOMER, "no pick at all")
    await world.pick()
    await world.refusal()


async def test_a_pick_that_names_another_caller_id_is_not_confirmed_by_it(world: PicksWorld) -> None:
    await world.define(group([member(1, daily_cap=1), member(2, daily_cap=5)]))
    [first] = [one for one in [await world.pick(), await world.pick()] if one.caller_id_id == 1]
    await world.call(2, first.id)
    assert (await world.refusal(exclude=(2,))).reasons == {"quota_exceeded": 1, "excluded": 1}


async def test_a_group_sees_the_reservations_that_another_group_made(world: PicksWorld) -> None:
    await world.define(group([member(1, daily_cap=1)]), group([member(1, daily_cap=1)], id=GROUP + 1))
    first = await world.pick()
    await world.refusal()
    asked = [PickRequest()]
    [refused] = await world.engine.pick(CUSTOMER, GROUP + 1, asked)
    assert isinstance(refused, NothingEligible)
    await world.engine.release(CUSTOMER, first.id)
    [picked] = await world.engine.pick(CUSTOMER, GROUP + 1, asked)
    assert isinstance(picked, Picked)


async def test_a_cap_is_that_of_the_customers_day(world: PicksWorld) -> None:
    await world.define(group([member(1, daily_cap=1)]))
    await world.call(1, (await world.pick()).id)
    refused = await world.refusal()
    assert refused.next_eligible_at_ms is not None
    assert (refused.next_eligible_at_ms + 7 * HOUR) % (24 * HOUR) == 0, "midnight in Ho Chi Minh City"
    await world.wait(refused.next_eligible_at_ms - await world.now_ms() - 60_000)
    await world.refusal()
    await world.wait(61_000)
    assert (await world.pick()).caller_id_id == 1


async def test_an_hourly_cap_holds_in_any_rolling_hour(world: PicksWorld) -> None:
    await world.define(group([member(1, hourly_cap=3)]))
    times: list[int] = []
    for _ in range(40):
        [outcome] = await world.outcomes()
        if isinstance(outcome, Picked):
            times.append(await world.now_ms())
            await world.call(1, outcome.id, times[-1])
        else:
            assert outcome.reasons == {"hourly_cap": 1}
            assert outcome.next_eligible_at_ms is not None
            assert outcome.next_eligible_at_ms % QUARTER_MS == 0
        await world.wait(7 * 60_000)
    assert len(times) > 6
    assert all(later - earlier > HOUR for earlier, later in zip(times, times[3:], strict=False))


async def test_next_eligible_is_when_the_hour_has_room_again(world: PicksWorld) -> None:
    await world.define(group([member(1, hourly_cap=1)]))
    await world.call(1, (await world.pick()).id)
    refused = await world.refusal()
    assert refused.next_eligible_at_ms is not None
    await world.wait(refused.next_eligible_at_ms - await world.now_ms() - 30_000)
    await world.refusal()
    await world.wait(31_000)
    await world.pick()


async def test_two_picks_of_a_caller_id_are_a_gap_apart_in_whatever_group(world: PicksWorld) -> None:
    both = [member(1, min_gap_seconds=60)]
    await world.define(group(both), group(both, id=GROUP + 1))
    await world.pick()
    refused = await world.refusal()
    assert refused.reasons == {"min_gap": 1}
    [other] = await world.engine.pick(CUSTOMER, GROUP + 1, [PickRequest()])
    assert isinstance(other, NothingEligible)
    await world.wait(59_000)
    await world.refusal()
    await world.wait(2_000)
    await world.pick()


async def test_a_new_caller_id_grows_with_the_days_since_its_activation(world: PicksWorld) -> None:
    policy = Policy(warm_up=(WarmUpStep(1, 1), WarmUpStep(3, 2)))
    activated_ms = await world.now_ms()
    await world.define(group([member(1, activated_ms=activated_ms, daily_cap=4)], policy=policy))
    given = []
    for _ in range(4):
        count = 0
        while isinstance((await world.outcomes())[0], Picked):
            count += 1
        given.append(count)
        await world.wait(24 * HOUR)
    assert given == [1, 2, 2, 4]


async def test_a_flag_that_is_folded_is_seen_by_the_next_pick_of_every_engine(world: PicksWorld) -> None:
    """Engines hear of nothing here but the function's refusal: no change is announced to them."""
    await world.define(group([member(1), member(2)]))
    engines = [world.engine, world.another()]
    for engine in engines:
        await world.pick(engine)
    await world.flag(1)
    for engine in engines:
        assert {(await world.pick(engine)).caller_id_id for _ in range(3)} == {2}
    await world.clear(1)
    assert {(await world.pick(engine)).caller_id_id for engine in engines * 2} == {1, 2}
    assert world.engine.stale > 0


async def test_flags_of_others_cost_a_pick_nothing(world: PicksWorld) -> None:
    await world.define(group([member(1)]))
    await world.pick()
    before = world.engine.stale
    await world.flag(99)
    await world.pick()
    assert world.engine.stale == before


async def test_a_rest_ends_by_itself(world: PicksWorld) -> None:
    await world.define(group([member(1)]))
    await world.pick()
    await world.flag(1, "user_report")
    refused = await world.refusal()
    assert refused.reasons == {"cooldown": 1}
    assert refused.next_eligible_at_ms is not None
    assert 0 < refused.next_eligible_at_ms - await world.now_ms() <= HOUR
    await world.wait(HOUR + 1_000)
    await world.pick()


async def test_a_rest_that_ends_when_the_cap_is_reached_goes_on_until_midnight(world: PicksWorld) -> None:
    await world.define(group([member(1, daily_cap=1)]))
    _, end = today(TIMEZONE, await world.now_ms() // QUARTER_MS)
    midnight_ms = end * QUARTER_MS
    await world.wait((midnight_ms - await world.now_ms()) // 2)
    await world.wait(max(midnight_ms - 4 * HOUR - await world.now_ms(), 0))
    await world.call(1)
    await world.flag(1, "user_report")
    refused = await world.refusal()
    assert refused.reasons == {"cooldown": 1}
    assert refused.next_eligible_at_ms is not None
    rest_ends_ms = await world.now_ms() + HOUR
    assert refused.next_eligible_at_ms == midnight_ms or midnight_ms < refused.next_eligible_at_ms <= rest_ends_ms


async def test_a_refusal_counts_every_member_by_why(world: PicksWorld) -> None:
    some = [member(1), member(2, daily_cap=1), member(3, status="disabled"), member(4), member(5, hourly_cap=1)]
    await world.define(group([*some, member(6, min_gap_seconds=900)]))
    await world.call(2)
    await world.call(5)
    await world.flag(1)
    await world.pick(exclude=(4,))
    assert (await world.refusal(exclude=(4,))).reasons == {
        "cooldown": 1,
        "quota_exceeded": 1,
        "hourly_cap": 1,
        "min_gap": 1,
        "disabled": 1,
        "excluded": 1,
    }


async def test_nothing_of_a_reservation_is_left_when_it_has_ended(world: PicksWorld) -> None:
    await world.define(group([member(1), member(2), member(3)]))
    confirmed, released, _ = [await world.pick() for _ in range(3)]
    await world.call(confirmed.caller_id_id, confirmed.id)
    await world.engine.release(CUSTOMER, released.id)
    await world.wait(31_000)
    await world.refusal(exclude=(1, 2, 3))
    prefix = keys.facts_prefix(CUSTOMER)
    for pattern in ("live:*", "due*"):
        assert await world.client.keys(prefix + pattern) == []


@pytest.mark.parametrize("limit", ["hourly_cap", "min_gap_seconds", "cooldown"])
async def test_who_waited_for_time_alone_is_back_while_others_can_be_picked(world: PicksWorld, limit: str) -> None:
    """Nobody asks in vain: a refusal would look at everybody again."""
    limits = {} if limit == "cooldown" else {limit: 1}
    await world.define(group([member(1, **limits), member(2)]))
    if limit == "cooldown":
        await world.flag(1, "user_report")
    elif limit == "hourly_cap":
        await world.call(1)
    assert set(await world.callers(3)) == ({1, 2} if limit == "min_gap_seconds" else {2})
    await world.wait(76 * 60_000)
    assert 1 in await world.callers(2)


async def test_of_one_callers_reservations_those_end_up_to_whose_end_the_facts_are_complete(world: PicksWorld) -> None:
    await world.define(group([member(1, daily_cap=2)]))
    await world.pick()
    await world.wait(3_000)
    await world.pick()
    world.offset_ms += 31_000
    world.engine._offset_ms = world.offset_ms  # noqa: SLF001  # time passes, and the facts are behind
    await world.advance(lag_ms=2_000)
    await world.pick()
    await world.refusal()
    await world.advance()
    await world.pick()


async def test_a_reservation_that_becomes_a_call_of_yesterday_leaves_room_today(world: PicksWorld) -> None:
    await world.define(group([member(1, daily_cap=1), member(2)]))
    first = await world.pick()
    assert await world.callers(2) == [2, 2]
    await world.call(1, first.id, await world.now_ms() - 25 * HOUR)
    assert 1 in await world.callers(2)
    assert await world.callers(2) == [2, 2]
