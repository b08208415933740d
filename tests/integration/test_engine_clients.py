"""The SDK's two clients against the engine itself: one table of laws, run with each."""

import asyncio
from collections.abc import AsyncIterator, Awaitable

import pytest
import pytest_asyncio

from engine_clients import HASTY, KINDS, AnyPick, Client, Clients
from integration.engine_world import EngineWorld, engine_world
from integration.lossy_engine import LossyEngine, lossy_engine
from pick_groups import GROUP, group, member
from rotary.definitions import SCOPE
from rotary.engine import (
    Engine,
    EngineClosedError,
    EngineUnavailableError,
    GroupDisabled,
    GroupNotFoundError,
    IdempotencyConflictError,
    InvalidRequestError,
    NothingEligible,
    PickRequest,
    RateLimitedError,
    UnauthenticatedError,
    UnauthorizedError,
    UnexpectedAnswerError,
)

pytestmark = pytest.mark.asyncio(loop_scope="function")


@pytest_asyncio.fixture(params=KINDS, loop_scope="function")
async def clients(request: pytest.FixtureRequest) -> AsyncIterator[Clients]:
    made = Clients(request.param)
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="function")
async def world(redis_url: str) -> AsyncIterator[EngineWorld]:
    async with engine_world(redis_url) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="function")
async def client(world: EngineWorld, clients: Clients) -> Client:
    return await clients.open(world.base, await world.token())


@pytest_asyncio.fixture(loop_scope="function")
async def lossy(world: EngineWorld) -> AsyncIterator[LossyEngine]:
    async with lossy_engine(world.base) as one:
        yield one


# What is answered


async def test_a_pick_has_what_the_engine_says(world: EngineWorld, client: Client) -> None:
    await world.picks.define(group([member(18), member(19, carrier="mobifone")]))
    pick = await client.pick(GROUP, lead_id="L-991", carrier="mobifone", prefix="028", exclude=[18])
    assert (pick.group_id, pick.caller_id_id, pick.number) == (GROUP, 19, "0280000019")
    assert (pick.display_name, pick.carrier, pick.trunk_name) == ("Line 19", "mobifone", "trunk-1")
    assert (pick.reason, pick.id.endswith("-19"), pick.expires_at.tzinfo is not None) == ("round_robin", True, True)


async def test_nothing_eligible_says_why_and_when_to_come_again(world: EngineWorld, client: Client) -> None:
    await world.picks.define(group([member(1, daily_cap=1), member(2)]))
    await world.picks.flag(2)
    await client.pick(GROUP)
    with pytest.raises(NothingEligible, match=r"No caller ID is eligible. \(request .+\)") as nothing:
        await client.pick(GROUP)
    assert nothing.value.reasons == {"quota_exceeded": 1, "cooldown": 1}
    assert nothing.value.next_eligible_at is not None
    assert nothing.value.retry_after is not None
    assert 1 <= nothing.value.retry_after <= 31


async def test_a_batch_has_a_pick_or_a_refusal_for_each_request(world: EngineWorld, client: Client) -> None:
    await world.picks.define(group([member(1, daily_cap=1), member(2, daily_cap=1)]))
    first, second, third = await client.pick_many(GROUP, [PickRequest(exclude=[1]), PickRequest("L-2"), PickRequest()])
    assert not isinstance(first, NothingEligible)
    assert not isinstance(second, NothingEligible)
    assert (first.caller_id_id, second.caller_id_id) == (2, 1)
    assert isinstance(third, NothingEligible)
    assert third.reasons == {"quota_exceeded": 2}
    await client.release(GROUP, second.id)
    assert (await client.pick(GROUP)).caller_id_id == 1


async def test_leaving_a_batch_releases_the_picks_whose_calls_were_not_placed(
    world: EngineWorld, client: Client
) -> None:
    await world.picks.define(group([member(1, daily_cap=5)]))
    held = await client.hold_many(GROUP, [PickRequest()] * 7, placed=2)
    assert [one.is_placed for one in held] == [True, True, False, False, False]
    assert [one.is_released for one in held] == [False, False, True, True, True]
    outcomes = await client.pick_many(GROUP, [PickRequest()] * 5)
    assert [isinstance(one, NothingEligible) for one in outcomes] == [False, False, False, True, True]


async def test_an_empty_batch_asks_nothing(lossy: LossyEngine, clients: Clients) -> None:
    client = await clients.open(lossy.url, "token")
    assert await client.pick_many(GROUP, []) == []
    assert lossy.asked == []


async def test_a_lead_keeps_its_number_until_it_is_forgotten(world: EngineWorld, client: Client) -> None:
    await world.picks.define(group([member(number) for number in range(1, 6)], sticky_enabled=True))
    lead = "Nguyễn/An?%2F"
    first = await client.pick(GROUP, lead_id=lead)
    assert [(one.caller_id_id, one.reason) for one in [await client.pick(GROUP, lead_id=lead) for _ in range(3)]] == (
        [(first.caller_id_id, "sticky")] * 3
    )
    await client.forget_lead(GROUP, lead)
    assert (await client.pick(GROUP, lead_id=lead)).reason == "round_robin"


# Errors


async def test_a_disabled_group_is_refused_with_an_error_of_its_own(world: EngineWorld, client: Client) -> None:
    await world.picks.define(group([member(1)], status="disabled"))
    with pytest.raises(GroupDisabled):
        await client.pick(GROUP)
    with pytest.raises(GroupDisabled):
        await client.pick_many(GROUP, [PickRequest()])


async def test_a_group_that_is_not_there_is_named_so(world: EngineWorld, client: Client) -> None:
    await world.picks.define(group([member(1)]))
    with pytest.raises(GroupNotFoundError, match="no group with this id"):
        await client.pick(99)


async def test_a_wrong_field_is_named(world: EngineWorld, client: Client) -> None:
    await world.picks.define(group([member(1)]))
    with pytest.raises(InvalidRequestError, match=r"picks\[1\].carrier") as invalid:
        await client.pick_many(GROUP, [PickRequest(), PickRequest(carrier="nokia")])  # type: ignore[arg-type]  # on purpose
    assert list(invalid.value.errors) == ["picks[1].carrier"]


async def test_a_token_is_refused_at_once_and_the_error_says_what_to_do(world: EngineWorld, clients: Clients) -> None:
    await world.picks.define(group([member(1)]))
    stranger = await clients.open(world.base, "made-up")
    with pytest.raises(UnauthenticatedError, match="unknown, expired or revoked"):
        await stranger.pick(GROUP)
    reader = await clients.open(world.base, await world.token((SCOPE,)))
    with pytest.raises(UnauthorizedError, match="--scope caller_id_pick"):
        await reader.pick(GROUP)


async def test_a_token_over_its_limit_is_told_when_to_come_back(world: EngineWorld, clients: Clients) -> None:
    await world.picks.define(group([member(1)]))
    limited = await clients.open(world.base, await world.token(limit=1), HASTY)
    await limited.pick(GROUP)
    with pytest.raises(RateLimitedError) as over:
        await limited.pick(GROUP)
    assert over.value.retry_after is not None
    assert 1 <= over.value.retry_after <= 60


async def test_a_closed_engine_is_unavailable_and_says_why(world: EngineWorld, clients: Clients) -> None:
    await world.picks.define(group([member(1)]))
    await world.picks.advance(lag_ms=15_000)
    hasty = await clients.open(world.base, await world.token(), HASTY)
    with pytest.raises(EngineUnavailableError, match="The projections are being rebuilt") as closed:
        await hasty.pick(GROUP)
    assert (closed.value.status, closed.value.retry_after) == (503, 1)


async def test_another_servers_url_is_noticed(world: EngineWorld, clients: Clients) -> None:
    astray = await clients.open(world.base + "/api", await world.token())
    with pytest.raises(UnexpectedAnswerError, match="without /api"):
        await astray.pick(GROUP)


async def test_a_client_that_was_left_picks_no_more(world: EngineWorld, clients: Clients) -> None:
    left = await clients.open(world.base, await world.token())
    await clients.close()
    with pytest.raises(EngineClosedError):
        await left.pick(GROUP)


# Repetitions


@pytest.mark.parametrize("trouble", ["losing", "failing"])
async def test_a_pick_whose_answer_is_lost_is_asked_for_again_and_made_once(
    world: EngineWorld, lossy: LossyEngine, clients: Clients, trouble: str
) -> None:
    await world.picks.define(group([member(1, daily_cap=2)]))
    setattr(lossy, trouble, 2)
    client = await clients.open(lossy.url, await world.token())
    await client.pick(GROUP)
    assert len(lossy.asked) == 3
    assert len(set(lossy.asked)) == 1, "the same idempotency key"
    await client.pick(GROUP)
    assert len({key for _, _, key in lossy.asked}) == 2, "another one for another pick"
    with pytest.raises(NothingEligible):
        await client.pick(GROUP)


async def test_a_release_and_a_forgotten_lead_are_asked_for_again(
    world: EngineWorld, lossy: LossyEngine, clients: Clients
) -> None:
    await world.picks.define(group([member(1, daily_cap=1), member(2, daily_cap=1)], sticky_enabled=True))
    client = await clients.open(lossy.url, await world.token())
    pick = await client.pick(GROUP, lead_id="L-1")
    lossy.losing = 2
    await client.release(GROUP, pick.id)
    lossy.failing = 2
    await client.forget_lead(GROUP, "L-1")
    assert (await client.pick(GROUP, lead_id="L-1")).reason == "round_robin"


async def test_a_batch_is_repeated_whole(world: EngineWorld, lossy: LossyEngine, clients: Clients) -> None:
    await world.picks.define(group([member(1, daily_cap=3)]))
    lossy.losing = 1
    client = await clients.open(lossy.url, await world.token())
    outcomes = await client.pick_many(GROUP, [PickRequest()] * 4)
    assert [isinstance(one, NothingEligible) for one in outcomes] == [False, False, False, True]


async def test_one_key_gives_one_pick_and_refuses_other_arguments(world: EngineWorld, client: Client) -> None:
    await world.picks.define(group([member(1), member(2)]))
    first = await client.pick(GROUP, lead_id="L-1", idempotency_key="attempt-1")
    assert (await client.pick(GROUP, lead_id="L-1", idempotency_key="attempt-1")).id == first.id
    with pytest.raises(IdempotencyConflictError, match="Use a new key"):
        await client.pick(GROUP, lead_id="L-2", idempotency_key="attempt-1")


async def test_one_key_gives_one_refusal_and_another_asks_anew(world: EngineWorld, client: Client) -> None:
    await world.picks.define(group([member(1, daily_cap=1)]))
    pick = await client.pick(GROUP)
    with pytest.raises(NothingEligible):
        await client.pick(GROUP, idempotency_key="attempt-1")
    await client.release(GROUP, pick.id)
    with pytest.raises(NothingEligible):
        await client.pick(GROUP, idempotency_key="attempt-1")
    assert (await client.pick(GROUP, idempotency_key="attempt-2")).caller_id_id == 1


async def test_an_engine_that_is_away_is_waited_for_until_the_deadline(world: EngineWorld, clients: Clients) -> None:
    async with lossy_engine(world.base) as gone:
        pass
    client = await clients.open(gone.url, await world.token(), HASTY)
    with pytest.raises(EngineUnavailableError, match=r"did not answer within 0\.3 s") as away:
        await client.pick(GROUP)
    assert (away.value.status, away.value.retry_after) == (None, None)


# Leaving a pick's context


async def test_a_pick_that_was_not_placed_is_released(world: EngineWorld, client: Client) -> None:
    await world.picks.define(group([member(1, daily_cap=1)]))
    await client.hold(GROUP)
    with pytest.raises(ConnectionError):
        await client.hold(GROUP, error=ConnectionError("no trunk"))
    await client.pick(GROUP)


async def test_a_pick_that_was_placed_stays_reserved_also_after_an_error(world: EngineWorld, client: Client) -> None:
    await world.picks.define(group([member(1, daily_cap=2)]))
    await client.hold(GROUP, is_placed=True)
    with pytest.raises(ConnectionError):
        await client.hold(GROUP, is_placed=True, error=ConnectionError("hung up"))
    with pytest.raises(NothingEligible):
        await client.pick(GROUP)


async def test_a_placed_pick_that_is_published_is_one_call(world: EngineWorld, client: Client) -> None:
    await world.picks.define(group([member(1, daily_cap=2)]))
    pick = await client.hold(GROUP, is_placed=True)
    await world.picks.call(1, pick.id)
    await client.pick(GROUP)
    with pytest.raises(NothingEligible):
        await client.pick(GROUP)


async def test_a_task_that_is_cancelled_inside_a_pick_releases_it(world: EngineWorld) -> None:
    await world.picks.define(group([member(1, daily_cap=1)]))
    dialing = asyncio.Event()
    async with Engine(world.base, await world.token()) as engine:

        async def call() -> None:
            async with engine.pick(GROUP):
                dialing.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(call())
        await asyncio.wait_for(dialing.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await engine.pick(GROUP)


# Many at once


async def test_a_hundred_dialers_of_one_client_never_pass_the_cap(world: EngineWorld, client: Client) -> None:
    await world.picks.define(group([member(number, daily_cap=5) for number in range(1, 9)]))

    async def outcome(picking: Awaitable[AnyPick]) -> int | None:
        try:
            return (await picking).caller_id_id
        except NothingEligible:
            return None

    outcomes = await asyncio.gather(*(outcome(client.pick(GROUP)) for _ in range(100)))
    assert sorted(one for one in outcomes if one) == sorted(list(range(1, 9)) * 5)
