"""What a request may ask for: leads, preferences, repetition; and what a definition that changed does to it."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from integration.picks_world import CUSTOMER, PicksWorld, picks_world
from integration.private_redis import names
from pick_groups import GROUP, group, member
from rotary.clock import system_clock
from rotary.domain.rotation.outcomes import Picked, PickRequest
from rotary.errors import GroupNotFoundError
from rotary.policy import Policy
from rotary.redis import keys
from rotary.redis.picks import GroupDisabledError, IdempotencyConflictError

pytestmark = pytest.mark.asyncio(loop_scope="function")

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@pytest_asyncio.fixture(loop_scope="function")
async def world(redis_url: str) -> AsyncIterator[PicksWorld]:
    async with picks_world(redis_url) as one:
        yield one


# Leads


async def test_ten_simultaneous_requests_for_a_new_lead_agree_on_one_number(world: PicksWorld) -> None:
    await world.define(group([member(number) for number in range(1, 6)], "random", sticky_enabled=True))
    engines = [world.engine, world.another()]
    picked = await asyncio.gather(*(world.pick(engines[at % 2], lead_id="L-991") for at in range(10)))
    assert len({one.caller_id_id for one in picked}) == 1
    assert len({one.id for one in picked}) == 10


async def test_a_lead_moves_when_its_number_can_not_be_picked_and_keeps_the_new_one(world: PicksWorld) -> None:
    await world.define(group([member(1), member(2)], sticky_enabled=True))
    first = await world.pick(lead_id="L-1")
    await world.flag(first.caller_id_id)
    second = await world.pick(lead_id="L-1")
    assert (second.caller_id_id, second.reason) == (3 - first.caller_id_id, "round_robin")
    await world.clear(first.caller_id_id)
    third = await world.pick(lead_id="L-1")
    assert (third.caller_id_id, third.reason) == (second.caller_id_id, "sticky")


async def test_a_lead_moves_from_a_number_that_left_the_group(world: PicksWorld) -> None:
    await world.define(group([member(1), member(2)], sticky_enabled=True))
    first = await world.pick(lead_id="L-1")
    await world.define(group([member(3 - first.caller_id_id)], sticky_enabled=True))
    assert (await world.pick(lead_id="L-1")).reason == "round_robin"


async def test_a_forgotten_lead_is_new(world: PicksWorld) -> None:
    await world.define(group([member(1), member(2)], sticky_enabled=True))
    await world.pick(lead_id="L-1")
    assert await world.engine.forget_lead(CUSTOMER, GROUP, "L-1")
    assert not await world.engine.forget_lead(CUSTOMER, GROUP, "L-1")
    assert (await world.pick(lead_id="L-1")).reason == "round_robin"


async def test_a_lead_is_kept_for_the_policys_days_since_its_last_pick(world: PicksWorld) -> None:
    await world.define(group([member(1)], sticky_enabled=True, policy=Policy(sticky_days=2)))
    await world.pick(lead_id="L-1")
    [name] = await names(world.client, "*lead:*")
    assert 0 <= 2 * 86_400_000 - await world.client.pttl(name) < 60_000
    await world.client.pexpire(name, 5_000)
    await world.pick(lead_id="L-1")
    assert await world.client.pttl(name) > 86_400_000


async def test_a_group_that_is_not_sticky_keeps_nothing_of_a_lead(world: PicksWorld) -> None:
    await world.define(group([member(1), member(2)]))
    await world.pick(lead_id="L-1")
    assert await names(world.client, "*lead:*") == []


# Preferences


async def test_the_asked_carrier_comes_first_then_the_longest_prefix_then_all(world: PicksWorld) -> None:
    members = [
        member(1, carrier="viettel", number="0281111"),
        member(2, carrier="viettel", number="0247777", daily_cap=3),
        member(3, carrier="mobifone", number="0282222"),
        member(4, carrier="mobifone", number="0909999"),
    ]
    await world.define(group(members))
    assert [await world.callers(1, carrier="viettel", prefix="0247") for _ in range(2)] == [[2], [2]]
    assert await world.callers(2, prefix="0282") == [3, 3]
    assert await world.callers(1, carrier="viettel", prefix="0282") == [1]
    assert await world.callers(2, carrier="viettel", prefix="0247") == [2, 1]
    await world.flag(1)
    assert set(await world.callers(4, carrier="viettel")) == {3, 4}


async def test_preference_falls_back_to_shorter_beginnings_of_the_prefix(world: PicksWorld) -> None:
    members = [member(1, number="02811"), member(2, number="02899"), member(3, number="0900")]
    await world.define(group(members))
    assert await world.callers(2, prefix="02811") == [1, 1]
    assert await world.callers(2, prefix="02811", exclude=(1,)) == [2, 2]
    assert await world.callers(2, prefix="02811", exclude=(1, 2)) == [3, 3]
    assert set(await world.callers(3, prefix="84")) == {1, 2, 3}


async def test_more_prefixes_than_are_kept_are_answered_all_the_same(world: PicksWorld) -> None:
    members = [member(number, number=f"{number:03d}5") for number in range(1, 90)]
    await world.define(group(members))
    for number in [*range(1, 90), 1, 2]:
        assert await world.callers(1, prefix=f"{number:03d}") == [number]


async def test_a_member_that_becomes_eligible_is_preferred_again(world: PicksWorld) -> None:
    await world.define(group([member(1, number="028", daily_cap=1), member(2, number="09")]))
    first = await world.pick(prefix="028")
    assert await world.callers(1, prefix="028") == [2]
    await world.engine.release(CUSTOMER, first.id)
    assert await world.callers(1, prefix="028") == [1]


async def test_the_excluded_are_not_picked_and_keep_their_place(world: PicksWorld) -> None:
    await world.define(group([member(1), member(2), member(3)]))
    assert await world.callers(2, exclude=(1,)) == [2, 3]
    assert await world.callers(3) == [1, 2, 3]


# Repetition


async def test_the_same_key_and_body_have_the_same_answer_on_any_engine(world: PicksWorld) -> None:
    await world.define(group([member(1), member(2, daily_cap=1)]))
    asked = [PickRequest()] * 120
    first = await world.engine.pick(CUSTOMER, GROUP, asked, ("key", b"body"))
    again = await world.another().pick(CUSTOMER, GROUP, asked, ("key", b"body"))
    assert again == first
    assert len({one.id for one in first if isinstance(one, Picked)}) == 120
    assert await world.client.zcard(keys.facts_prefix(CUSTOMER) + "live:2") == 1


async def test_a_key_answers_with_what_was_picked_then_also_when_the_member_has_gone(world: PicksWorld) -> None:
    await world.define(group([member(1, display_name=None, trunk_name=None)]))
    first = await world.engine.pick(CUSTOMER, GROUP, [PickRequest()], ("key", b"body"))
    await world.define(group([member(2)]))
    assert await world.engine.pick(CUSTOMER, GROUP, [PickRequest()], ("key", b"body")) == first


async def test_the_same_key_with_another_body_or_group_is_refused(world: PicksWorld) -> None:
    await world.define(group([member(1)]), group([member(1)], id=GROUP + 1))
    await world.engine.pick(CUSTOMER, GROUP, [PickRequest()], ("key", b"body"))
    with pytest.raises(IdempotencyConflictError):
        await world.engine.pick(CUSTOMER, GROUP, [PickRequest()], ("key", b"other"))
    with pytest.raises(IdempotencyConflictError):
        await world.engine.pick(CUSTOMER, GROUP + 1, [PickRequest()], ("key", b"body"))


async def test_one_clients_conflict_fails_nobody_else_in_its_round_trip(world: PicksWorld) -> None:
    await world.define(group([member(1)]))
    await world.engine.pick(CUSTOMER, GROUP, [PickRequest()], ("key", b"body"))
    found = await asyncio.gather(
        world.engine.pick(CUSTOMER, GROUP, [PickRequest()], ("key", b"other")), world.pick(), return_exceptions=True
    )
    assert [type(one) for one in found] == [IdempotencyConflictError, Picked]


async def test_a_batch_is_answered_in_order_each_a_pick_or_a_refusal(world: PicksWorld) -> None:
    await world.define(group([member(1, daily_cap=1), member(2, daily_cap=200)]))
    asked = [PickRequest(exclude=(2,)), PickRequest(), PickRequest(exclude=(2,)), *[PickRequest()] * 200]
    found = await world.engine.pick(CUSTOMER, GROUP, asked)
    kinds = [one.caller_id_id if isinstance(one, Picked) else None for one in found]
    assert kinds == [1, 2, None, *[2] * 199, None]


# Definitions


async def test_a_pick_shows_the_member_as_it_is_defined(world: PicksWorld) -> None:
    await world.define(
        group([member(18, number="0900000010", display_name="Tổng đài", carrier="other", trunk_name=None)])
    )
    found = await world.pick()
    assert (found.group_id, found.caller_id_id, found.number, found.display_name, found.carrier, found.trunk_name) == (
        GROUP, 18, "0900000010", "Tổng đài", "other", None,
    )  # fmt: skip
    assert found.expires_at_ms % 1000 == 0
    assert 29_000 < found.expires_at_ms - await world.now_ms() <= 31_000


async def test_a_definition_that_changed_is_seen_by_the_next_pick_of_every_engine(world: PicksWorld) -> None:
    await world.define(group([member(1), member(2)]))
    engines = [world.engine, world.another()]
    for engine in engines:
        await world.pick(engine)
    await world.define(group([member(1, status="disabled"), member(2, daily_cap=1_000), member(3)]))
    assert {(await world.pick(engine)).caller_id_id for engine in engines * 3} == {2, 3}


async def test_a_definition_that_is_written_again_unchanged_makes_no_new_plan(world: PicksWorld) -> None:
    await world.define(group([member(1)]))
    await world.pick()
    made = world.engine.plans.made
    await world.define(group([member(1)]))
    await world.pick()
    assert world.engine.plans.made == made


async def test_a_group_that_is_missing_disabled_or_removed_says_so(world: PicksWorld) -> None:
    await world.define(group([member(1)]), group([member(1)], id=GROUP + 1, status="disabled"))
    with pytest.raises(GroupNotFoundError):
        await world.engine.pick(CUSTOMER, 99, [PickRequest()])
    with pytest.raises(GroupDisabledError):
        await world.engine.pick(CUSTOMER, GROUP + 1, [PickRequest()])
    await world.pick()
    await world.define(group([member(1)], id=GROUP + 1))
    with pytest.raises(GroupNotFoundError):
        await world.pick()
    assert isinstance((await world.engine.pick(CUSTOMER, GROUP + 1, [PickRequest()]))[0], Picked)


async def test_a_group_of_nobody_is_refused_without_a_time(world: PicksWorld) -> None:
    await world.define(group([member(1, status="disabled")]))
    refused = await world.refusal()
    assert (refused.reasons, refused.next_eligible_at_ms) == ({"disabled": 1}, None)


async def test_a_replaced_plan_leaves_nothing_behind(world: PicksWorld) -> None:
    for cap in range(1, 6):
        await world.define(group([member(1, daily_cap=cap), member(2)]))
        await world.pick(prefix="028")
    plans = {name.split(":")[3] for name in await names(world.client, "*plan:*:*")}
    assert len(plans) == 1


async def test_engines_that_plan_a_large_group_at_once_agree(world: PicksWorld) -> None:
    await world.define(group([member(number) for number in range(1, 1_001)]))
    engines = [world.engine, world.another(), world.another()]
    picked = await asyncio.gather(*(world.pick(engine) for engine in engines))
    assert len({one.caller_id_id for one in picked}) == 3


# What an engine that is late finds


async def test_a_plan_is_mended_only_from_the_versions_that_it_has(world: PicksWorld) -> None:
    await world.define(group([member(1)]))
    await world.pick()
    key, prefix = keys.picks(CUSTOMER), keys.facts_prefix(CUSTOMER)
    build = str(await world.client.get(f"{prefix}plan:{GROUP}"), "ascii")  # type: ignore[arg-type]  # replies are bytes
    version, flags = await world.client.hmget(f"{prefix}plan:{GROUP}:{build}", "version", "flags")
    rests = msgspec.msgpack.encode([("1", await world.now_ms() + 60_000)])
    for from_version, from_flags in ((version, b"1"), (b"1", flags)):
        late = (0, GROUP, build, from_version, b"x", from_flags, b"2", rests)
        assert await world.client.fcall("plan_patch_1", 1, key, *late) == b"LOST"
    await world.pick()


async def test_a_plan_that_another_engine_began_anew_is_not_put_in_place(world: PicksWorld) -> None:
    await world.define(group([member(1)]))
    await world.pick()
    key = keys.picks(CUSTOMER)
    for build in ("first", "second"):
        begun = await world.client.fcall("plan_begin_1", 1, key, 0, GROUP, build, "version", "1")
        assert begun == (b"OK" if build == "first" else b"BUSY")
    assert await world.client.fcall("plan_commit_1", 1, key, GROUP, "second", 0) == b"LOST"
    assert await world.client.fcall("plan_commit_1", 1, key, GROUP, "first", 1) == b"LOST", "a member is missing"
    await world.pick()


async def test_a_picks_id_is_a_ulid_of_its_moment_and_its_caller_id(world: PicksWorld) -> None:
    await world.define(group([member(18, daily_cap=2_000)]))
    before = system_clock()()
    picked = [await world.pick(), *(one for one in await world.outcomes(1_200) if isinstance(one, Picked))]
    after = system_clock()()
    assert len({one.id for one in picked}) == 1_201
    for one in picked:
        ulid, _, caller = one.id.rpartition("-")
        assert (caller, len(ulid), set(ulid) <= set(CROCKFORD)) == ("18", 26, True)
        moment = sum(CROCKFORD.index(digit) * 32**at for at, digit in enumerate(reversed(ulid[:10])))
        assert before <= moment <= after
