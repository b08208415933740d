"""What one customer asks for, however much or odd, is answered, and is nobody else's trouble."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace
from redis.asyncio import Redis

from integration.picks_world import CUSTOMER, PicksWorld, picks_world
from integration.private_redis import names
from pick_groups import GROUP, group, member
from rotary.domain.rotation.outcomes import NothingEligible, Picked, PickRequest
from rotary.errors import UnavailableError
from rotary.redis.picks import CALLS_UNDER_WAY, PICKS_AT_ONCE, WORTH_A_CALL, Picks
from rotary.redis.pipeline import Pipeline

pytestmark = pytest.mark.asyncio(loop_scope="function")

EXCLUDED = tuple(range(1, 101))


@pytest_asyncio.fixture(loop_scope="function")
async def world(redis_url: str) -> AsyncIterator[PicksWorld]:
    async with picks_world(redis_url) as one:
        yield one


async def commands(world: PicksWorld, name: str) -> int:
    """How often Redis ran a command so far, also within functions."""
    stats: dict[str, dict[str, Any]] = await world.client.info("commandstats")
    return int(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"])


async def queues(world: PicksWorld) -> dict[str, int]:
    """The sizes of a plan's queues."""
    return {
        name.partition(":queue")[2]: await world.client.zcard(name) for name in await names(world.client, "*:queue*")
    }


async def test_as_many_prefixes_and_carriers_at_once_as_there_are_are_preferred(world: PicksWorld) -> None:
    await world.define(group([member(at, number=f"0{at}000000") for at in range(100, 200)]))
    asked = [PickRequest(prefix=f"0{at}55", carrier="viettel") for at in range(100, 200)]
    found = await asyncio.gather(*(world.engine.pick(CUSTOMER, GROUP, [one]) for one in asked))
    assert [one.caller_id_id for [one] in found if isinstance(one, Picked)] == [*range(100, 200)]
    again = await world.another().pick(CUSTOMER, GROUP, asked)
    assert [one.caller_id_id for one in again if isinstance(one, Picked)] == [*range(100, 200)]


@pytest.mark.parametrize("strategy", ["least_used", "cap_based", "weighted"])
async def test_a_member_stands_once_in_a_queue_however_it_is_picked(world: PicksWorld, strategy: Any) -> None:
    members = [member(at, weight=at) for at in range(1, 6)]
    await world.define(group(members, strategy, sticky_enabled=True))
    await world.wait_for_noon()
    for asked in ({"lead_id": "L-1"}, {"carrier": "viettel"}, {"prefix": "0280000002"}, {}, {"exclude": (1, 2)}):
        for _ in range(8):
            for one in await world.outcomes(3, **asked):
                assert isinstance(one, Picked)
                await world.engine.release(CUSTOMER, one.id)
            await world.wait(31_000)
    await world.pick(lead_id="L-1")
    assert await queues(world) == {"": 5, ":viettel|": 5, ":|0280000002": 1, ":|028000000": 5}


async def test_a_member_that_comes_back_stands_once_in_a_queue(world: PicksWorld) -> None:
    members = [member(at, weight=2, min_gap_seconds=30 if at == 1 else None) for at in range(1, 4)]
    await world.define(group(members, "weighted"))
    for _ in range(8):
        await world.outcomes(7, carrier="viettel")
        await world.wait(31_000)
    await world.outcomes(7)
    assert set((await queues(world)).values()) <= {2, 3}


@pytest.mark.parametrize("strategy", ["round_robin", "least_used", "weighted", "random"])
async def test_the_excluded_make_calls_of_fewer_picks(world: PicksWorld, strategy: Any) -> None:
    """Each is passed by again for each pick: a call of the function has so much to do and no more."""
    await world.define(group([member(at) for at in range(1, 121)], strategy))
    await world.pick()
    before = world.engine.calls
    found = await world.outcomes(100, exclude=EXCLUDED)
    picked = {one.caller_id_id for one in found if isinstance(one, Picked)}
    others = set(range(101, 121))
    assert picked <= others if strategy == "random" else picked == others  # at random, one of 20 may be left out
    assert world.engine.calls - before > 10


async def test_a_heavy_batch_that_is_sent_again_has_the_same_answer(world: PicksWorld) -> None:
    await world.define(group([member(at) for at in range(1, 121)]))
    asked = [PickRequest(exclude=EXCLUDED[:at]) for at in range(60)]
    first = await world.engine.pick(CUSTOMER, GROUP, asked, ("key", b"body"))
    assert await world.another().pick(CUSTOMER, GROUP, asked, ("key", b"body")) == first


async def test_at_random_the_excluded_stay_where_they_are(world: PicksWorld) -> None:
    await world.define(group([member(at) for at in range(1, 121)], "random"))
    await world.pick()
    before = await commands(world, "zrem")
    await world.outcomes(50, exclude=EXCLUDED)
    assert await commands(world, "zrem") == before


async def test_at_random_a_refusal_counts_the_excluded_that_could_be_picked(world: PicksWorld) -> None:
    await world.define(group([member(1, daily_cap=1), member(2), member(3, daily_cap=1)], "random"))
    await world.pick(exclude=(2, 3))
    await world.pick(exclude=(1, 2))
    assert (await world.refusal(exclude=(1, 2))).reasons == {"quota_exceeded": 2, "excluded": 1}


async def test_many_that_expire_at_once_are_looked_at_by_several_picks(world: PicksWorld) -> None:
    await world.define(group([member(at, daily_cap=1) for at in range(1, 1_001)], "least_used"))
    await world.callers(1_000)
    await world.wait(31_000)
    before = await commands(world, "zremrangebyscore")
    await world.pick()
    looked_at = await commands(world, "zremrangebyscore") - before
    assert looked_at < 400
    assert len(set(await world.callers(999))) == 999
    assert (await world.refusal()).reasons == {"quota_exceeded": 1_000}


async def test_a_number_is_free_also_while_others_that_expired_wait_to_be_looked_at(world: PicksWorld) -> None:
    many = group([member(at, daily_cap=1) for at in range(1, 1_001)])
    few = replace(group([member(2_000, daily_cap=1)]), id=4)
    await world.define(many, few)
    await world.callers(1_000)
    [first] = await world.engine.pick(CUSTOMER, 4, [PickRequest()])
    assert isinstance(first, Picked)
    await world.wait(31_000)
    [again] = await world.engine.pick(CUSTOMER, 4, [PickRequest()])
    assert isinstance(again, Picked), again


async def test_all_that_a_gap_kept_away_are_back(world: PicksWorld) -> None:
    await world.define(group([member(at, min_gap_seconds=60) for at in range(1, 301)]))
    assert len(set(await world.callers(300))) == 300
    await world.wait(61_000)
    assert len(set(await world.callers(300))) == 300


async def test_a_request_that_can_not_be_sent_fails_alone(world: PicksWorld) -> None:
    await world.define(group([member(1)], "sticky_lead"))
    await world.pick()
    odd = world.engine.pick(CUSTOMER, GROUP, [PickRequest(lead_id="\ud800")])
    async with asyncio.timeout(5):
        with pytest.raises(UnicodeEncodeError):
            await odd
    assert (await world.pick()).caller_id_id == 1


class _Watched(Pipeline):
    """Notes how many calls of the function are on their way."""

    most = 0
    now = 0

    async def call(self, commands: Sequence[bytes]) -> list[object]:
        self.now += len(commands)
        self.most = max(self.most, self.now)
        try:
            return await super().call(commands)
        finally:
            self.now -= len(commands)


async def test_one_customers_calls_under_way_are_few_so_that_anothers_wait_for_few(world: PicksWorld) -> None:
    await world.define(group([member(at) for at in range(1, 13)]))
    watched = _Watched(world.client)
    engine = world.another()
    engine._pipeline = watched  # noqa: SLF001  # plans are made over the other
    found = await asyncio.gather(*(engine.pick(CUSTOMER, GROUP, [PickRequest()] * 200) for _ in range(40)))
    await watched.close()
    assert watched.most == CALLS_UNDER_WAY
    assert all(isinstance(one, Picked | NothingEligible) for some in found for one in some)
    assert len({one.id for some in found for one in some if isinstance(one, Picked)}) == 8_000


class _Held(Pipeline):
    """Keeps replies back until it is free."""

    def __init__(self, client: Redis) -> None:
        super().__init__(client)
        self.free = asyncio.Event()
        self.free.set()

    async def call(self, commands: Sequence[bytes]) -> list[object]:
        replies = await super().call(commands)
        await self.free.wait()
        return replies


async def test_a_few_picks_that_arrive_during_a_call_share_the_next_one(world: PicksWorld) -> None:
    await world.define(group([member(1, daily_cap=100_000)]))
    held = _Held(world.client)
    engine = Picks(held, offset_ms=world.offset_ms)
    await engine.pick(CUSTOMER, GROUP, [PickRequest()])
    before, tasks = engine.calls, list[asyncio.Task[object]]()
    held.free.clear()
    for _ in range(10):
        tasks.append(asyncio.create_task(engine.pick(CUSTOMER, GROUP, [PickRequest()])))
        await asyncio.sleep(0)  # a turn of the event loop each: without a call under way it would be a call each
        await asyncio.sleep(0)
    assert engine.calls - before == 1
    held.free.set()
    await asyncio.gather(*tasks)
    assert engine.calls - before == 2
    await engine.close()
    await held.close()


class _Noting(Pipeline):
    """Notes the calls that are sent."""

    def __init__(self, client: Redis) -> None:
        super().__init__(client)
        self.order = list[str]()

    def call(self, commands: Sequence[bytes]) -> Coroutine[None, None, list[object]]:
        self.order.append("call")
        return super().call(commands)


@pytest.fixture
async def watched(world: PicksWorld) -> AsyncIterator[tuple[Picks, list[str]]]:
    """An engine that knows its group, and what it sends from now on."""
    await world.define(group([member(1, daily_cap=100_000)]))
    noting = _Noting(world.client)
    engine = Picks(noting, offset_ms=world.offset_ms)
    await engine.pick(CUSTOMER, GROUP, [PickRequest()])
    noting.order.clear()
    yield engine, noting.order
    await engine.close()
    await noting.close()


async def test_redis_has_a_call_as_soon_as_it_is_worth_one(watched: tuple[Picks, list[str]]) -> None:
    """It picks while others of the same turn of the event loop still ask."""
    engine, order = watched

    async def other() -> None:
        order.append("another's turn")

    await asyncio.gather(*(engine.pick(CUSTOMER, GROUP, [PickRequest()]) for _ in range(WORTH_A_CALL)), other())
    assert order == ["call", "another's turn"]


async def test_redis_has_what_waits_before_those_who_are_answered_go_on(watched: tuple[Picks, list[str]]) -> None:
    engine, order = watched

    async def first() -> None:
        await engine.pick(CUSTOMER, GROUP, [PickRequest()])
        order.append("answered")

    task = asyncio.create_task(first())
    while not order:  # noqa: ASYNC110  # until its call is under way
        await asyncio.sleep(0)
    await asyncio.gather(task, *(engine.pick(CUSTOMER, GROUP, [PickRequest()]) for _ in range(5)))
    assert order == ["call", "call", "answered"]


async def test_stopping_tells_those_whose_call_has_just_been_sent(world: PicksWorld) -> None:
    await world.define(group([member(1)]))
    await world.pick()
    engine = world.another()
    await engine.plans.mend(CUSTOMER, GROUP)
    asked = [asyncio.create_task(engine.pick(CUSTOMER, GROUP, [PickRequest()])) for _ in range(WORTH_A_CALL)]
    stopping = asyncio.create_task(engine.close())
    ends = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 5)
    await stopping
    assert {type(end) for end in ends} <= {UnavailableError, list}


async def test_who_went_away_while_it_waited_for_its_turn_is_not_picked_for(world: PicksWorld) -> None:
    await world.define(group([member(1, daily_cap=100_000)]))
    await world.pick()
    tasks = [asyncio.create_task(world.outcomes(50)) for _ in range(40)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # the first are on their way
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await world.pick()
    assert world.engine.picks <= 2 + CALLS_UNDER_WAY * PICKS_AT_ONCE


async def test_when_redis_is_away_those_that_wait_for_their_turn_are_told_at_once(world: PicksWorld) -> None:
    await world.define(group([member(1)]))
    await world.pick()
    attempts = 0

    async def away(commands: Sequence[bytes]) -> list[object]:
        nonlocal attempts
        attempts += 1
        assert commands
        await asyncio.sleep(0)
        raise ConnectionError

    world.engine._pipeline.call = away  # type: ignore[method-assign]  # noqa: SLF001
    asked = (world.engine.pick(CUSTOMER, GROUP, [PickRequest()] * 50) for _ in range(40))
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(one) for one in found} == {ConnectionError}
    assert attempts == 1
