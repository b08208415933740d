"""Readers believe facts by the position that is stored with them: old facts say how old they are, or are refused."""

import asyncio
import json
from collections.abc import Sequence
from typing import cast

import pytest
from redis.asyncio import Redis

from histories import HOUR, placed
from integration.query_world import (
    CALLS,
    Caller,
    Got,
    Log,
    Site,
    World,
    group,
    hashed,
    member,
    site,
)
from rotary.clock import system_clock
from rotary.definitions import GroupDefinition
from rotary.redis import keys
from rotary.redis.positions import switch
from rotary_query.cache.roundtrip import RoundTrips
from running import until
from written import Documents

NOW = system_clock()
HOT, COLD = "/api/caller-id-groups/3/monitor", "/api/caller-id-groups/4/monitor"


@pytest.fixture
def groups() -> list[GroupDefinition]:
    return [group(3, member(18)), *(group(number, member(18)) for number in range(4, 60))]


def lag(got: Got) -> int:
    """How old the answer says that it is."""
    return int(got.headers["X-Projection-Lag"])


def calls(got: Got) -> int:
    """Calls of the group's only member."""
    return int(json.loads(got.text)["data"]["members"][0]["calls_today"])


async def _dumped(filled: World, name: bytes | str) -> bytes:
    value = await filled.client.dump(name)
    assert isinstance(value, bytes)
    return value


async def test_a_consumer_that_hangs_shows_as_growing_lag(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token())
    await filled.fold(placed("before", NOW(), 18))
    assert lag(await caller.get(HOT)) == 0
    filled.log.hangs = True
    for seconds, cold in ((2, 4), (3, 5)):

        async def is_late(seconds: int = seconds) -> bool:
            return lag(await caller.get(HOT)) >= seconds

        await until(is_late, 5, "memory says how old it is")
        read = served.reader.loader.entries_read
        first = await caller.get(f"/api/caller-id-groups/{cold}/monitor")
        assert served.reader.loader.entries_read == read + 1, "this one was read from Redis"
        assert lag(first) >= seconds
        assert calls(first) == 1
    filled.log.hangs = False

    async def is_current() -> bool:
        return lag(await caller.get(HOT)) == 0

    await until(is_current, 2, "it is over")


async def test_one_log_that_hangs_is_enough(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token())
    filled.log.hangs = True

    async def is_late() -> bool:
        await filled.log.advance([CALLS])
        return lag(await caller.get(HOT)) >= 2

    await until(is_late, 5, "the flags are not up to date")


async def test_the_age_is_told_by_redis_clock_alone(filled: World) -> None:
    shift = -HOUR
    async with site(filled.url, clock=lambda: NOW() + shift) as running:
        caller = running.caller(await filled.token())
        assert [lag(await caller.get(HOT)), lag(await caller.get(HOT))] == [0, 0]
        shift = HOUR
        assert [lag(await caller.get(HOT)), lag(await caller.get(COLD))] == [0, 0]


async def test_an_older_snapshot_is_never_shown_as_fresh(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token())
    await filled.fold(placed("old", NOW(), 18))
    filled.log.hangs = True
    names = [
        name for name in await filled.client.keys(f"{keys.tag(filled.bucket)}*") if b"group" not in cast("bytes", name)
    ]
    snapshot = {name: await _dumped(filled, name) for name in names}

    async def is_late() -> bool:
        return lag(await caller.get(HOT)) >= 3

    await until(is_late, 6, "the snapshot is three seconds old")
    filled.log.hangs = False
    await filled.fold(placed("new", NOW(), 18))

    async def is_current() -> bool:
        got = await caller.get(HOT)
        return (calls(got), lag(got)) == (2, 0)

    await until(is_current, 3, "both calls show")
    filled.log.hangs = True
    async with filled.client.pipeline(transaction=True) as pipeline:
        for name, value in snapshot.items():
            pipeline.restore(name, 0, value, replace=True)
        await pipeline.execute()
    first = await caller.get(COLD)
    assert (calls(first), lag(first) >= 3) == (1, True), "Redis itself says so at once"

    async def is_noticed() -> bool:
        got = await caller.get(HOT)
        assert calls(got) == 2 or lag(got) >= 3, "old, and shown as fresh"
        return calls(got) == 1

    await until(is_noticed, 1, "memory is emptied of what Redis lost")
    await filled.log.advance()
    mark = await filled.log.positions.bucket_statuses()
    assert mark[filled.bucket].back_ms > 0, "the reader of the log noticed, too"
    await filled.log.restart()
    await filled.fold(placed("new", NOW(), 18))
    filled.log.hangs = False
    await until(is_current, 3, "the log made up for it")


async def test_an_emptied_redis_is_refused_at_once_when_cold_and_soon_when_hot(filled: World, served: Site) -> None:
    token = await filled.token()
    caller = served.caller(token)
    await filled.fold(placed("lost", NOW(), 18))
    assert (await caller.get(HOT)).status == 200
    filled.log.hangs = True
    names = [*await filled.client.keys("*group*"), keys.token(hashed(token))]
    documents = {name: await _dumped(filled, name) for name in names}
    await filled.client.flushdb()
    await Documents(filled.client).complete()
    for name, value in documents.items():
        await filled.client.restore(name, 0, value)
    cold = await caller.get(COLD)
    assert (cold.status, cold.text) == (503, '{"message":"The projections are being rebuilt. Try again soon."}')
    filled.log.hangs = False

    async def is_refused() -> bool:
        return (await caller.get(HOT)).status != 200

    await until(is_refused, 1, "memory is not believed either")


async def test_a_bucket_that_lacks_the_position_of_one_log_is_refused(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token())
    filled.log.hangs = True
    await filled.client.delete(keys.position(filled.bucket))
    await filled.log.restart()
    await filled.log.advance([CALLS])
    await until(lambda: _is(caller, 503), 1, "nothing is known of the flags")
    await filled.log.advance()
    await until(lambda: _is(caller, 200), 1, "now both are known")


async def _is(caller: Caller, status: int) -> bool:
    statuses = {(await caller.get(path)).status for path in (HOT, COLD)}
    return statuses == {status}


async def test_a_gap_of_the_log_closes_its_buckets_until_somebody_accepts_it(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token())
    assert await _is(caller, 200)
    filled.log.hangs = True
    now_ms = await filled.log.positions.now_ms()
    await filled.log.positions.gap([filled.bucket], CALLS, 1_000, [CALLS, "flags.0"], now_ms + HOUR)
    await until(lambda: _is(caller, 503), 1, "it is closed")
    told = (await caller.get(HOT)).text
    assert told == '{"message":"The event log lost events; the operator has been told. Try again soon."}'
    await filled.log.positions.accept_gap(CALLS, now_ms + HOUR)
    await until(lambda: _is(caller, 200), 1, "it is open again")


@pytest.mark.parametrize("hears", [True, False])
async def test_another_generation_is_read_once_it_is_switched_to(
    filled: World, served: Site, monkeypatch: pytest.MonkeyPatch, *, hears: bool
) -> None:
    caller = served.caller(await filled.token())
    await filled.fold(placed("a", NOW(), 18), placed("never happened", NOW(), 18))
    assert calls(await caller.get(HOT)) == 2
    if not hears:
        monkeypatch.setattr("rotary.auth.change_watch.RETRY_SECONDS", 60)
        for one in await filled.client.client_list():
            if one["db"] == "8" and int(one["sub"]) > 0:
                await filled.client.client_kill_filter(_id=one["id"])
        await until(lambda: _closed(served), 1, "nothing is heard any more")
    built = Log(filled.client, generation=1)
    await built.fold(filled.customer, [placed("a", NOW(), 18)])
    await built.advance()
    assert calls(await caller.get(HOT)) == 2
    assert await switch(filled.client, filled.bucket, 1, exact=False)
    advancing = asyncio.create_task(built.run())

    async def is_shown() -> bool:
        return [calls(await caller.get(path)) for path in (HOT, COLD)] == [1, 1]

    await until(is_shown, 1, "the new generation shows")
    await built.fold(filled.customer, [placed("b", NOW(), 18)])

    async def is_followed() -> bool:
        return [calls(await caller.get(path)) for path in (HOT, COLD)] == [2, 2]

    await until(is_followed, 1, "and is followed")
    advancing.cancel()
    await built.close()


async def _closed(served: Site) -> bool:
    return not served.reader.cache.is_open


class Interrupted(RoundTrips):
    """Sends one command at a time and empties Redis after so many of them: what a busy Redis may do between any two."""

    def __init__(self, client: Redis, after: int) -> None:
        super().__init__(client)
        self._client = client
        self._left = after
        self.commands = 0

    async def ask(self, commands: Sequence[bytes]) -> list[object]:
        replies: list[object] = []
        for command in commands:
            self.commands += 1
            replies += await super().ask([command])
            self._left -= 1
            if self._left == 0:
                await self._client.flushdb()
                await Documents(self._client).complete()
        return replies


async def test_no_moment_of_losing_everything_shows_empty_facts_as_fresh(
    filled: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.log.hangs = True
    after, asked = 0, 1_000
    while after < asked:
        after += 1
        await filled.client.flushdb()
        await filled.fill()
        await filled.put(group(3, member(18)))
        await filled.fold(placed(f"call {after}", NOW(), 18))
        await filled.log.advance()
        trips = Interrupted(filled.client, after)
        monkeypatch.setattr("rotary_query.cache.loader.RoundTrips", lambda _client, trips=trips: trips)
        async with site(filled.url) as running:
            got = await running.caller(await filled.token()).get(HOT)
            if got.status == 200:
                assert calls(got) == 1, f"interrupted after {after} commands: empty facts, {lag(got)} s old"
            else:
                assert got.status in (404, 503), got.text
            asked = trips.commands
    assert asked > 8, "documents and facts were read"
