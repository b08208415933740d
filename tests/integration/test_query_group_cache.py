"""The cache on a real Redis: as fresh as Redis, through races, losses and floods."""

import asyncio
import json
import random
from collections.abc import Callable, Coroutine, Sequence
from itertools import count
from typing import Any, cast

import pytest
from msgspec import MsgspecError

from histories import HOUR, MINUTE, cleared, flagged, placed
from integration.query_world import Caller, Site, World, group, member, site
from integration.tcp_proxy import TcpProxy
from rotary.clock import system_clock
from rotary.definitions import GroupDefinition, summary
from rotary.domain.facts import DAY_MS
from rotary.domain.monitor import monitor
from rotary.domain.quota import days_read
from rotary.events import FLAG_KINDS, Event
from rotary.redis import keys
from rotary.redis.facts import decode_group_facts, fact_keys
from rotary_query.cache.group_cache import Key
from rotary_query.cache.roundtrip import RoundTrips
from rotary_query.http.schemas import encode_monitor
from running import until

NOW = system_clock()


@pytest.fixture
def groups() -> list[GroupDefinition]:
    return [group(3, member(18), member(19)), group(4, member(19), member(20))]


async def _true(value: object) -> bool:
    return bool(value)


def _calls(caller: Caller, group_id: int, position: int) -> Callable[[], Coroutine[None, None, int]]:
    async def read() -> int:
        calls: int = (await caller.data(f"/api/caller-id-groups/{group_id}/monitor"))["members"][position][
            "calls_today"
        ]
        return calls

    return read


async def test_a_second_read_asks_redis_nothing(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token())
    for path in ("", "/3", "/3/monitor", "/99"):
        await caller.get("/api/caller-id-groups" + path)
    assert served.reader.loader.entries_read == 4
    for path in ("", "/3", "/3/monitor", "/99"):
        await caller.get("/api/caller-id-groups" + path)
    assert served.reader.loader.entries_read == 4


async def test_broken_facts_fail_their_own_read_alone(filled: World, served: Site) -> None:
    await filled.client.set(keys.flags(filled.customer, 18), b"\xc1 no flags")
    load = served.reader.loader.load
    asked: list[Key] = [("monitor", filled.customer, group_id) for group_id in (3, 4)]
    broken, whole = await asyncio.gather(*map(load, asked), return_exceptions=True)
    assert served.reader.loader.batches_read == 1
    assert isinstance(broken, MsgspecError)
    assert isinstance(whole, tuple)


async def test_groups_of_several_customers_read_together_show_each_their_own_calls(filled: World, served: Site) -> None:
    ours = filled.customer
    theirs = next(one for one in count(ours + 1) if keys.bucket_of(one) == filled.bucket)
    for customer in (ours, theirs):
        groups = [group(3, member(18), member(19)), group(4), group(5, member(20, "disabled"), member(1_018))]
        await filled.documents.put_groups(customer, groups, [summary(one) for one in groups])
    calls = {(ours, 18): 1, (ours, 1_018): 2, (theirs, 18): 3, (theirs, 19): 4, (theirs, 20): 5}
    for (customer, caller), number in calls.items():
        await filled.log.fold(customer, [placed(f"{at}", NOW(), caller) for at in range(number)])
    load = served.reader.loader.load
    asked: list[Key] = [("monitor", customer, one) for one in (3, 4, 5) for customer in (ours, theirs)]
    read = [entry for entry, _ in await asyncio.gather(*map(load, asked))]
    assert served.reader.loader.batches_read == 1
    for (_, customer, group_id), entry in zip(asked, read, strict=True):
        members = json.loads(entry.answer(NOW()).body)["data"]["members"]
        callers = {3: [18, 19], 4: [], 5: [20, 1_018]}[group_id]
        assert [(one["caller_id_id"], one["calls_today"]) for one in members] == [
            (caller, calls.get((customer, caller), 0)) for caller in callers
        ]


async def test_a_fold_shows_in_every_group_of_the_caller_id(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token())
    in_three, in_four = _calls(caller, 3, 1), _calls(caller, 4, 0)
    assert (await in_three(), await in_four()) == (0, 0)
    await filled.fold(placed("a", NOW(), 19), placed("b", NOW(), 19))

    async def shown() -> bool:
        return (await in_three(), await in_four()) == (2, 2)

    await until(shown, 1, "both groups show two calls")
    await filled.fold(flagged("f", "blocked", NOW(), 19))

    async def resting() -> bool:
        data = await caller.data("/api/caller-id-groups/4/monitor")
        return bool(data["in_cooldown"] == 1)

    await until(resting, 1, "the flag shows")
    await filled.fold(cleared("x", NOW(), 19))

    async def rested() -> bool:
        return not await resting()

    await until(rested, 1, "the clear shows")
    assert served.reader.loader.entries_read == 2


async def test_a_changed_definition_shows(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token())
    for path in ("", "/3", "/3/monitor"):
        assert (await caller.get("/api/caller-id-groups" + path)).status == 200
    await filled.put(group(3, member(18), name="Renamed"))

    async def renamed() -> bool:
        names = [entry["name"] for entry in await caller.data("/api/caller-id-groups")]
        detail = await caller.data("/api/caller-id-groups/3")
        shown = await caller.data("/api/caller-id-groups/3/monitor")
        return names == ["Renamed", "Sales HCM"] and detail["name"] == shown["group_name"] == "Renamed"

    await until(renamed, 1, "the new name shows everywhere")
    await filled.remove(3)

    async def gone() -> bool:
        return [(await caller.get(f"/api/caller-id-groups/3{path}")).status for path in ("", "/monitor")] == [404, 404]

    await until(gone, 1, "the group is gone")
    await filled.put(group(3, member(18)))

    async def back() -> bool:
        return (await caller.get("/api/caller-id-groups/3/monitor")).status == 200

    await until(back, 1, "a group that was missing is found")


class HeldRead:
    """A cold read that asks for such keys: its answer has come and is held, while what happens to Redis races it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, keys_like: bytes) -> None:
        self.is_answered, self._goes_on = asyncio.Event(), asyncio.Event()
        self.reads = 0
        transact = RoundTrips.transact

        async def held(trips: RoundTrips, transactions: Sequence[Sequence[bytes]]) -> list[list[object]]:
            answers = await transact(trips, transactions)
            if any(keys_like in command for commands in transactions for command in commands):
                self.reads += 1
                self.is_answered.set()
                await self._goes_on.wait()
            return answers

        monkeypatch.setattr(RoundTrips, "transact", held)

    def let_go(self) -> None:
        """The answer is used, and no later one is held."""
        self._goes_on.set()


async def test_a_read_that_races_a_fold_never_installs_old_facts(
    filled: World, served: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = HeldRead(monkeypatch, b":calls:")
    caller = served.caller(await filled.token())
    reading = asyncio.create_task(_calls(caller, 3, 0)())
    await held.is_answered.wait()
    heard = served.reader.subscriber.changes_heard
    await filled.fold(placed("late", NOW(), 18))
    await until(
        lambda: _true(served.reader.subscriber.changes_heard > heard), 2, "the change is heard before the answer"
    )
    held.let_go()
    assert await reading == 1
    assert await _calls(caller, 3, 0)() == 1
    assert (served.reader.loader.entries_read, held.reads) == (1, 1), "the second answer came from the cache"


async def test_a_read_that_races_a_definition_is_not_installed(
    filled: World, served: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = HeldRead(monkeypatch, b":group:")
    caller = served.caller(await filled.token())
    reading = asyncio.create_task(caller.data("/api/caller-id-groups/3"))
    await held.is_answered.wait()
    heard = served.reader.subscriber.changes_heard
    await filled.put(group(3, name="Renamed"))
    await until(
        lambda: _true(served.reader.subscriber.changes_heard > heard), 2, "the change is heard before the answer"
    )
    joining = asyncio.create_task(caller.data("/api/caller-id-groups/3"))
    await asyncio.sleep(0)
    held.let_go()
    assert (await reading)["name"] == "Sales HCM", "it was asked before the change"
    assert (await joining)["name"] == "Renamed", "this one was asked after it"
    assert (await caller.data("/api/caller-id-groups/3"))["name"] == "Renamed"


async def test_a_read_that_straddles_an_emptied_redis_is_not_installed(
    filled: World, served: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled.fold(placed("old", NOW(), 18))
    held = HeldRead(monkeypatch, b":calls:")
    caller = served.caller(await filled.token())
    reading = asyncio.create_task(_calls(caller, 3, 0)())
    await held.is_answered.wait()
    await filled.client.delete(*await filled.client.keys(f"*{filled.customer}:calls:*"), keys.position(filled.bucket))
    heard = served.reader.subscriber.changes_heard
    await filled.log.advance()
    await until(lambda: _true(served.reader.subscriber.changes_heard > heard), 2, "the loss is heard of")
    held.let_go()
    await reading
    assert len(served.reader.cache) == 0


async def test_concurrent_misses_become_one_read(filled: World, served: Site) -> None:
    groups = [group(number, member(1000 + number), member(19)) for number in range(100, 160)]
    await filled.put(*groups)
    caller = served.caller(await filled.token())
    await caller.get("/api/caller-id-groups")
    before = served.reader.loader.batches_read, served.reader.loader.entries_read
    answers = await asyncio.gather(
        *(served.reader.monitor(filled.customer, one.id) for one in groups for _ in range(3))
    )
    assert len({answer.etag for answer, _ in answers}) == 60
    assert served.reader.loader.entries_read - before[1] == 60
    assert served.reader.loader.batches_read - before[0] == 4, "at most 16 together"


async def test_the_cache_stays_within_its_bytes_and_keeps_what_it_has_in_a_scan(filled: World) -> None:
    groups = [group(number, *(member(number * 100 + at) for at in range(20))) for number in range(100, 200)]
    await filled.put(*groups)
    async with site(filled.url, cache_megabytes=1) as running:
        caller = running.caller(await filled.token())
        kept = 0
        for _ in range(2):
            kept = len(running.reader.cache)
            for one in groups:
                data = await caller.data(f"/api/caller-id-groups/{one.id}/monitor")
                assert data["total_members"] == 20
                assert running.reader.cache.bytes_held <= 2**20
        assert 5 < len(running.reader.cache) < 100
        assert running.reader.loader.entries_read == 200 - kept, "the second scan finds what the first left"


async def test_what_a_stream_shows_is_kept_in_a_full_cache_because_changes_are_heard_for_what_is_kept(
    filled: World,
) -> None:
    groups = [group(number, *(member(number * 100 + at) for at in range(20))) for number in range(100, 200)]
    await filled.put(*groups)
    async with site(filled.url, cache_megabytes=1) as running:
        caller = running.caller(await filled.token())
        for one in groups:
            await caller.get(f"/api/caller-id-groups/{one.id}/monitor")
        await running.reader.monitor(filled.customer, 3)
        assert running.reader.cache.get(("monitor", filled.customer, 3)) is not None


async def test_time_alone_changes_the_answer(filled: World) -> None:
    shift = 0
    async with site(filled.url, clock=lambda: NOW() + shift) as running:
        caller = running.caller(await filled.token())
        await filled.fold(flagged("f", "user_report", NOW(), 18), placed("c", NOW(), 18))
        shown = await caller.data("/api/caller-id-groups/3/monitor")
        assert (shown["in_cooldown"], shown["members"][0]["health_score"]) == (1, 50)
        shift = HOUR + 1000
        shown = await caller.data("/api/caller-id-groups/3/monitor")
        assert (shown["in_cooldown"], shown["members"][0]["health_score"]) == (0, 50)
        shift = DAY_MS + MINUTE
        shown = await caller.data("/api/caller-id-groups/3/monitor")
        assert (shown["members"][0]["calls_today"], shown["members"][0]["health_score"]) == (0, 58)
        assert running.reader.loader.entries_read == 1


async def test_an_emptied_redis_is_noticed_although_no_connection_breaks(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token())
    assert (await caller.get("/api/caller-id-groups/3/monitor")).status == 200
    await filled.client.flushdb()

    async def refused() -> bool:
        return [(await caller.get(f"/api/caller-id-groups/3{path}")).status for path in ("/monitor", "")] == [503, 503]

    await until(refused, 0.9, "nothing is believed any more")
    await filled.fill()

    async def is_unknown() -> bool:
        return (await caller.get("/api/caller-id-groups")).status == 401

    await until(is_unknown, 0.9, "its token went, too")


async def test_redis_away_is_a_503_in_time_and_over_in_time(filled: World) -> None:
    async with TcpProxy(filled.url) as proxy, site(proxy.url) as running:
        caller = running.caller(await filled.token())

        async def answers(status: int) -> bool:
            response = await asyncio.wait_for(caller.get("/api/caller-id-groups/3/monitor"), 2)
            if status == response.status == 503:
                assert response.text == '{"message":"Redis is away. Try again soon."}'
                assert int(response.headers["Retry-After"]) >= 1
            return response.status == status

        await until(lambda: answers(200), 2, "it answers at first")
        for _ in range(2):
            await proxy.cut()
            await until(lambda: answers(503), 2, "it says that Redis is away")
            await proxy.mend()
            await until(lambda: answers(200), 2, "it is back")
            proxy.silence()
            await until(lambda: answers(503), 3, "a silent Redis is away")
            for _ in range(3):
                assert await answers(503)
            await proxy.drop()
            await until(lambda: answers(200), 2, "it is back")


async def test_without_a_subscription_reads_go_straight_to_redis(
    filled: World, served: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rotary.auth.change_watch.RETRY_SECONDS", 60)
    caller = served.caller(await filled.token())
    assert await _calls(caller, 3, 0)() == 0
    ours = [one for one in await filled.client.client_list() if one["db"] == "8" and int(one["sub"]) > 0]
    assert len(ours) == 1
    await filled.client.client_kill_filter(_id=ours[0]["id"])
    await until(lambda: _true(not served.reader.cache.is_open), 1, "the loss is noticed")
    assert len(served.reader.cache) == 0
    for number in range(5):
        await filled.fold(placed(f"unheard-{number}", NOW(), 18))
        assert await _calls(caller, 3, 0)() == number + 1
    token = await filled.token()
    assert (await served.caller(token).get("/api/caller-id-groups")).status == 200
    await filled.revoke(token)
    assert (await served.caller(token).get("/api/caller-id-groups")).status == 401
    assert len(served.reader.cache) == 0


async def test_what_is_not_understood_is_not_believed_to_be_unchanged(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token())
    await caller.data("/api/caller-id-groups/3/monitor")
    await filled.client.publish("rotary:changes", b"\x91\xa7novelty")
    await until(lambda: _true(len(served.reader.cache) == 0), 1, "the cache is emptied")
    assert (await caller.get("/api/caller-id-groups/3/monitor")).status == 200


async def test_any_events_show_as_the_pure_functions_say(filled: World, served: Site) -> None:
    rng = random.Random(20260606)
    caller = served.caller(await filled.token())
    members = (18, 19, 20)
    for turn in range(40):
        events: list[Event] = []
        for number in range(rng.randrange(12)):
            about = rng.choice(members)
            if rng.random() < 0.8:
                events.append(placed(f"{turn}-{number}", NOW() - rng.randrange(47 * HOUR), about))
            else:
                events.append(flagged(f"{turn}-{number}", rng.choice(FLAG_KINDS), NOW() - rng.randrange(DAY_MS), about))
        if rng.random() < 0.1:
            events.append(cleared(f"{turn}-clear", NOW() - rng.randrange(DAY_MS), rng.choice(members)))
        await filled.fold(*events)
        if rng.random() < 0.5:
            await caller.get(f"/api/caller-id-groups/{rng.choice((3, 4))}/monitor")
    for one in (group(3, member(18), member(19)), group(4, member(19), member(20))):

        async def agrees(one: Any = one) -> bool:  # bound now
            now_ms = NOW()
            callers, days = [caller_id.id for caller_id in one.members], days_read(now_ms)
            values = cast("list[bytes | None]", await filled.client.mget(fact_keys(filled.customer, callers, days)))
            told = (await caller.get(f"/api/caller-id-groups/{one.id}/monitor")).text.encode()
            return told == encode_monitor(monitor(one, decode_group_facts(days, values), now_ms))

        await until(agrees, 3, "the cache shows what Redis holds")
