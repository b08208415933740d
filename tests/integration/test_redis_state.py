"""Who may say that the facts are complete, how far the fold is, and the documents that stand beside the facts."""

from collections.abc import AsyncIterator
from hashlib import sha256

import msgspec
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from given import NOW, group, member
from integration.private_redis import customers, heard, private_redis
from rotary.definitions import TokenDefinition, summary
from rotary.errors import ConfigurationError, UnavailableError
from rotary.redis import keys
from rotary.redis.connection import check_server, connect, run_id
from rotary.redis.documents import DocumentWriter
from rotary.redis.reader import Reader
from rotary.redis.state import LOCK_SECONDS, Beat, Progress, StateStore

pytestmark = pytest.mark.asyncio(loop_scope="function")

HASH = sha256(b"rot_a").hexdigest()
OTHER_HASH = sha256(b"rot_b").hexdigest()
TOKEN = TokenDefinition(100, 7, ("telesales_api_access",), 600, None)
FIRST, SECOND, THIRD = Beat(NOW, NOW + 5), Beat(NOW + 1000, NOW + 1005), Beat(NOW + 2000, NOW + 2005)


@pytest_asyncio.fixture(loop_scope="function")
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with private_redis(redis_url) as client:
        yield client


@pytest.fixture
def state(redis: Redis) -> StateStore:
    return StateStore(redis)


async def rebuilt(state: StateStore, owner: str = "consumer-1") -> str:
    """Ready, by a rebuild of nothing; returns the marker."""
    assert await state.acquire_rebuild(owner)
    assert await state.finish_rebuild(owner, (await state.read()).run_id)
    marker = (await state.read()).ready
    assert marker is not None
    return marker


# Generations


async def test_an_empty_redis_knows_nothing_and_is_not_believed(state: StateStore) -> None:
    empty = await state.read()
    assert (empty.epoch, empty.ready, empty.beats, empty.is_ready) == (None, None, {}, False)


async def test_a_generation_begun_is_the_one_that_holds(state: StateStore) -> None:
    first = await state.begin_epoch(NOW, "")
    second = await state.begin_epoch(NOW + 1, first)
    assert (await state.read()).epoch == second > first


@pytest.mark.parametrize("after", ["", "1780000000000-aaaaaaaa", "9999999999999-ffffffff", "9999999999999-ffffffff+"])
async def test_a_generation_is_later_than_the_one_before_also_when_the_clock_went_back(
    state: StateStore, after: str
) -> None:
    assert await state.begin_epoch(NOW, after) > after


async def test_the_facts_are_believed_of_one_server_process_and_after_a_rebuild_alone(
    redis: Redis, state: StateStore
) -> None:
    await state.begin_epoch(NOW, "")
    marker = await rebuilt(state)
    assert (await state.read()).is_ready
    await redis.set(keys.READY, "0" * 40 + ":" + marker.partition(":")[2])
    assert not (await state.read()).is_ready, "another process"
    await rebuilt(state)
    await state.distrust()
    assert not (await state.read()).is_ready


async def test_distrust_of_all_forgets_where_to_replay_from(state: StateStore) -> None:
    marker = await rebuilt(state)
    assert await state.beat("a", marker, None, FIRST)
    await state.distrust()
    assert (await state.read()).beats == {"a": FIRST}
    await state.distrust(all_of_it=True)
    assert (await state.read()).beats == {}


# Heartbeats


async def test_a_beat_is_written_over_what_the_consumer_wrote_last_and_nothing_else(state: StateStore) -> None:
    marker = await rebuilt(state)
    assert await state.beat("a", marker, None, FIRST)
    assert await state.beat("a", marker, FIRST, SECOND)
    assert not await state.beat("a", marker, FIRST, THIRD)
    assert not await state.beat("a", marker, None, THIRD)
    assert await state.beat("b", marker, None, THIRD)
    assert (await state.read()).beats == {"a": SECOND, "b": THIRD}


async def test_a_server_that_went_back_keeps_the_last_good_moment(redis: Redis, state: StateStore) -> None:
    marker = await rebuilt(state)
    assert await state.beat("a", marker, None, FIRST)
    snapshot = await redis.dump(keys.CONSUMERS)
    assert await state.beat("a", marker, FIRST, SECOND)
    assert snapshot is not None
    await redis.restore(keys.CONSUMERS, 0, snapshot, replace=True)
    assert not await state.beat("a", marker, SECOND, THIRD)
    assert (await state.read()).beats == {"a": FIRST}


async def test_a_beat_under_a_marker_that_is_not_the_servers_is_refused(redis: Redis, state: StateStore) -> None:
    marker = await rebuilt(state)
    assert await state.beat("a", marker, None, FIRST)
    await rebuilt(state)
    assert not await state.beat("a", marker, FIRST, SECOND), "another rebuild since"
    await redis.delete(keys.READY)
    assert not await state.beat("a", marker, FIRST, SECOND), "no longer believed"
    assert (await state.read()).beats == {"a": FIRST}


async def test_a_beat_is_told_once_and_a_refused_one_is_not(redis: Redis, state: StateStore) -> None:
    marker = await rebuilt(state)
    async with heard(redis) as changes:
        await state.beat("a", marker, None, FIRST)
        await state.beat("a", marker, None, SECOND)
        told = [msgspec.msgpack.decode(message) for message in await changes.messages()]
    assert told == [["beat", f"{NOW}:{NOW + 5}"]]


async def test_consumers_that_are_gone_are_forgotten(state: StateStore) -> None:
    marker = await rebuilt(state)
    for name in ("a", "b", "c"):
        await state.beat(name, marker, None, FIRST)
    await state.forget(["a", "c"])
    await state.forget([])
    assert list((await state.read()).beats) == ["b"]


# The rebuild's lock


async def test_one_rebuilds_at_a_time_and_may_ask_again(redis: Redis, state: StateStore) -> None:
    assert await state.acquire_rebuild("a")
    assert not await state.acquire_rebuild("b")
    assert await state.acquire_rebuild("a")
    assert LOCK_SECONDS - 2 <= await redis.ttl(keys.REBUILD) <= LOCK_SECONDS


async def test_an_owner_that_fell_silent_is_replaced_and_can_neither_report_nor_finish(
    redis: Redis, state: StateStore
) -> None:
    progress = Progress(1, 10, 5, NOW, NOW + 1)
    assert await state.acquire_rebuild("a")
    assert await redis.delete(keys.REBUILD)  # as its expiry does
    assert not await state.report("a", progress)
    assert await state.acquire_rebuild("b")
    assert not await state.report("a", progress)
    assert not await state.finish_rebuild("a", await run_id(redis))
    assert not (await redis.exists(keys.READY))
    assert await state.report("b", progress)
    assert await state.finish_rebuild("b", await run_id(redis))


async def test_a_report_is_read_by_all_and_holds_the_lock(redis: Redis, state: StateStore) -> None:
    assert await state.progress() is None
    await state.acquire_rebuild("a")
    assert await state.progress() is None
    await redis.expire(keys.REBUILD, 2)
    progress = Progress(100, 1000, 2500, NOW, NOW + 1500)
    assert await state.report("a", progress)
    assert await state.progress() == progress
    assert await redis.ttl(keys.REBUILD) > 2
    await state.finish_rebuild("a", await run_id(redis))
    assert await state.progress() is None


async def test_a_finished_rebuild_releases_the_lock_under_a_new_marker_and_is_told(
    redis: Redis, state: StateStore
) -> None:
    before = await rebuilt(state)
    async with heard(redis) as changes:
        after = await rebuilt(state, "b")
        told = [msgspec.msgpack.decode(message) for message in await changes.messages()]
    assert before != after
    assert told == [["ready", after]]
    assert await state.acquire_rebuild("c")


# What readers get


async def test_facts_are_not_read_before_they_are_complete(redis: Redis, state: StateStore) -> None:
    reader = Reader(redis)
    with pytest.raises(UnavailableError, match="projections are being rebuilt"):
        await reader.facts(next(customers), [18], NOW)
    marker = await rebuilt(state)
    read = await reader.facts(next(customers), [18], NOW)
    assert (read.facts[18].calls, read.facts[18].flags, read.folded_until_ms) == ({}, (), 0)
    await state.beat("a", marker, None, FIRST)
    await state.beat("b", marker, None, SECOND)
    assert (await reader.facts(1, [], NOW)).folded_until_ms == SECOND.folded_until_ms


async def test_documents_are_not_read_before_all_are_there(redis: Redis) -> None:
    reader, writer, customer = Reader(redis), DocumentWriter(redis), next(customers)
    of = group([member(18), member(19, "disabled")])
    await writer.put_groups(customer, [of], [], [summary(of)])
    for read in (reader.groups(customer), reader.group(customer, 3), reader.token(HASH)):
        with pytest.raises(UnavailableError, match="definitions are being rebuilt"):
            await read
    assert not await writer.is_complete()
    await writer.complete(await writer.server())
    assert await writer.is_complete()
    assert await reader.groups(customer) == (summary(of),)
    assert await reader.group(customer, 3) == of
    assert await reader.group(next(customers), 3) is None
    assert await reader.token(HASH) is None


async def test_documents_are_replaced_and_removed_and_each_change_is_told(redis: Redis) -> None:
    reader, writer, customer = Reader(redis), DocumentWriter(redis), next(customers)
    await writer.complete(await writer.server())
    of = group([member(18)])
    async with heard(redis) as changes:
        await writer.put_groups(customer, [of], [], [summary(of)])
        await writer.put_tokens({HASH: TOKEN, OTHER_HASH: TOKEN}, [])
        assert await writer.stored() == ({customer: {3}}, {HASH, OTHER_HASH})
        assert await writer.stored_groups(customer) == {3}
        await writer.put_groups(customer, [], [3], [])
        await writer.put_tokens({}, [OTHER_HASH])
        told = [msgspec.msgpack.decode(message) for message in await changes.messages()]
    assert told == [
        ["groups", str(customer), [3]],
        ["tokens", [HASH, OTHER_HASH]],
        ["groups", str(customer), [3]],
        ["tokens", [OTHER_HASH]],
    ]
    assert await reader.groups(customer) == ()
    assert await reader.group(customer, 3) is None
    assert await reader.token(HASH) == TOKEN
    assert await reader.token(OTHER_HASH) is None
    assert await writer.stored() == ({}, {HASH})


async def test_a_server_that_would_evict_is_refused(redis: Redis) -> None:
    await check_server(redis)
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(ConfigurationError, match="maxmemory-policy allkeys-lru: set noeviction"):
            await check_server(redis)
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")


async def test_nobody_there_is_unavailable() -> None:
    async with connect("redis://127.0.0.1:1/0") as client:
        for asked in (StateStore(client).read(), Reader(client).ping(), StateStore(client).prepare()):
            with pytest.raises(UnavailableError, match="Redis is away"):
                await asked
