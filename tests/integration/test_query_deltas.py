"""Streams of deltas: whoever applies them has what the snapshots show, whatever happens meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import aiohttp
import pytest

from histories import cleared, flagged, placed
from integration.query_world import Caller, Site, World, group, member, site, world
from integration.redis_server import redis_server
from integration.tcp_proxy import TcpProxy
from integration.test_query_stream import MONITOR
from rotary.clock import system_clock
from rotary.definitions import GroupDefinition
from rotary.events import Event
from running import free_port, until
from stream_client import DeltaClient

NOW = system_clock()
DELTAS = "text/event-stream; deltas=1"


@pytest.fixture
def groups() -> list[GroupDefinition]:
    return [group(3, member(18), member(19))]


class Follower:
    """A client that reads a stream of deltas, event by event."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.client = DeltaClient()
        self.bodies: list[str] = []
        """What it had after each event."""
        self._response = response
        self._rest = b""

    async def next(self, seconds: float = 5) -> str:
        """Takes the next event and returns its name; an empty name at the end of the stream."""
        async with asyncio.timeout(seconds):
            while True:
                block = await self._block()
                if block is None:
                    return ""
                if not block.startswith(":"):
                    self.client.take_all(block)
                    self.bodies.append(self.client.body)
                    return self.client.events[-1]

    async def until(self, name: str) -> None:
        """Takes events until one with this name."""
        while (told := await self.next()) != name:
            assert told, "the stream ended"

    async def run(self) -> None:
        """Takes events until the end."""
        while await self.next(60):
            pass

    async def _block(self) -> str | None:
        while b"\n\n" not in self._rest:
            if not (data := await self._response.content.readany()):
                return None
            self._rest += data
        block, _, self._rest = self._rest.partition(b"\n\n")
        return block.decode()


@asynccontextmanager
async def following(caller: Caller, path: str = MONITOR, **headers: str) -> AsyncIterator[Follower]:
    """A client of a new stream, before its first event."""
    async with caller.stream(path, **({"Accept": DELTAS} | headers)) as response:
        assert response.status == 200, await response.text()
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        yield Follower(response)


@asynccontextmanager
async def snapshots(caller: Caller) -> AsyncIterator[list[str]]:
    """The bodies that a stream of snapshots shows while the block lasts."""
    bodies: list[str] = []
    async with caller.stream(MONITOR) as response:

        async def read() -> None:
            text = b""
            while data := await response.content.readany():
                text += data
                *blocks, text = text.split(b"\n\n")
                told = (dict(line.split(": ", 1) for line in block.decode().split("\n")) for block in blocks)
                bodies.extend(one["data"] for one in told if one.get("event") == "snapshot")

        reading = asyncio.create_task(read())
        yield bodies
        reading.cancel()


async def same(caller: Caller, follower: Follower) -> None:
    """Returns once a follower that runs has what the API answers."""

    async def is_same() -> bool:
        return (await caller.get(MONITOR)).text == follower.client.body

    await until(is_same, 5, "the client has what the API answers")


@pytest.mark.parametrize("how", [{"Accept": DELTAS}, {"Accept": 'Text/Event-Stream;Deltas="1"'}, {"Accept": "*/*"}])
async def test_a_snapshot_comes_first_and_then_what_changes(filled: World, served: Site, how: dict[str, str]) -> None:
    caller = served.caller(await filled.token())
    path = MONITOR + ("?deltas=1" if how["Accept"] == "*/*" else "")
    async with following(caller, path, **how) as follower:
        assert await follower.next() == "snapshot"
        assert follower.client.body == (await caller.get(MONITOR)).text
        for number in range(1, 4):
            await filled.fold(placed(str(number), NOW(), 18))
            assert await follower.next() == "delta"
            assert follower.client.members[18]["calls_today"] == number
            assert follower.client.body == (await caller.get(MONITOR)).text


@pytest.mark.parametrize(
    ("path", "accept", "content_type"),
    [
        (MONITOR + "?deltas=1", "application/json", "application/json"),
        (MONITOR + "?deltas=0", "*/*", "application/json"),
        (MONITOR, "*/*", "application/json"),
        ("/api/caller-id-groups/3?deltas=1", DELTAS, "application/json"),
        (MONITOR + "?deltas=1", "text/event-stream", "text/event-stream"),
    ],
)
async def test_who_does_not_ask_for_deltas_gets_none(
    filled: World, served: Site, path: str, accept: str, content_type: str
) -> None:
    async with served.caller(await filled.token()).stream(path, Accept=accept) as response:
        assert (response.status, response.content_type) == (200, content_type)


async def test_definitions_that_change_are_deltas_too(filled: World, served: Site) -> None:
    async with following(served.caller(await filled.token())) as follower:
        await follower.next()
        client = follower.client
        await filled.put(group(3, member(18), member(19), member(20)))
        await follower.until("delta")
        assert list(client.members) == [18, 19, 20]
        await filled.put(group(3, member(19), member(20, "disabled")))
        await follower.until("delta")
        assert [(one, client.members[one]["status"]) for one in client.members] == [
            (19, "eligible"),
            (20, "disabled"),
        ]
        await filled.put(group(3, member(19), member(20, "disabled"), name='Đổi "tên"'))
        await follower.until("delta")
        assert json.loads(client.body)["data"]["group_name"] == 'Đổi "tên"'
        await filled.put(group(3))
        await follower.until("delta")
        assert client.members == {}
        assert set(client.events) == {"snapshot", "delta"}
        await filled.remove(3)
        assert await follower.next() == "", "the stream ends with its group"


class Changes:
    """Random changes of a group and of facts about its members."""

    def __init__(self, filled: World, seed: int) -> None:
        self._random = Random(seed)
        self._filled = filled
        self._members = {18: member(18), 19: member(19)}
        self._name = "Sales"
        self._number = 0

    async def one(self) -> None:
        """One change."""
        await self._random.choice([self._facts, self._facts, self._facts, self._definition])()
        await asyncio.sleep(self._random.choice([0, 0, 0.02, 0.15]))  # within a look, or between two

    async def _facts(self) -> None:
        await self._filled.fold(*(self._event() for _ in range(self._random.randint(1, 5))))

    def _event(self) -> Event:
        self._number += 1
        name, caller = f"e{self._number}", self._random.randint(18, 29)
        match self._random.randrange(5):
            case 0:
                return flagged(name, self._random.choice(["rejected", "user_report", "spam_label"]), NOW(), caller)
            case 1:
                return cleared(name, NOW(), caller)
            case _:
                return placed(name, NOW(), caller)

    async def _definition(self) -> None:
        caller = self._random.randint(18, 29)
        match self._random.randrange(4):
            case 0:
                self._members.pop(caller, None)
            case 1:
                self._name = self._random.choice(["Sales", "Bán hàng", 'A "B" \\ C'])
            case _:
                status = self._random.choice(["active", "active", "disabled"])
                self._members[caller] = member(caller, status, self._random.choice([1, 3, 200]))
        some = [self._members[one] for one in sorted(self._members)]
        await self._filled.put(group(3, *some, name=self._name))


@pytest.mark.parametrize("seed", range(4))
async def test_under_random_changes_a_client_has_only_what_snapshots_show(
    filled: World, served: Site, seed: int
) -> None:
    caller, changes = served.caller(await filled.token()), Changes(filled, seed)
    async with snapshots(caller) as shown, AsyncExitStack() as stack:
        followers = [await stack.enter_async_context(following(caller))]
        await followers[0].next()
        running = [asyncio.create_task(followers[0].run())]
        for number in range(60):
            await changes.one()
            if number == 30:
                late = await stack.enter_async_context(following(caller))
                followers.append(late)
                running.append(asyncio.create_task(late.run()))
        for follower in followers:
            await same(caller, follower)

        async def is_shown() -> bool:
            return shown[-1] == followers[0].client.body == followers[1].client.body

        await until(is_shown, 5, "all three have the same")
        assert set(followers[0].bodies) <= set(shown)
        assert set(followers[1].bodies[1:]) <= set(shown)
        assert followers[0].client.events.count("snapshot") == 1
        assert len(followers[0].bodies) > 5
        for task in running:
            task.cancel()


async def test_a_thousand_members_cost_what_changes(filled: World, served: Site) -> None:
    callers = range(1000, 2000)
    await filled.put(group(3, *map(member, callers)))
    caller = served.caller(await filled.token())
    async with following(caller) as follower, following(caller) as other:
        for one in (follower, other):
            assert await one.next() == "snapshot"
        await filled.fold(*(placed(f"p{number}", NOW(), number) for number in callers[:50]))
        for one in (follower, other):
            assert await one.next() == "delta"
            assert sum(found["calls_today"] for found in one.client.members.values()) == 50
        assert follower.client.body == (await caller.get(MONITOR)).text
        assert follower.client.seq == other.client.seq, "a rendering has one number, for all streams of the process"


async def test_who_comes_back_with_its_last_event_id_gets_what_it_missed(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token())
    async with following(caller) as lasting:
        await lasting.next()
        async with following(caller) as leaving:
            await leaving.next()
        await filled.fold(placed("missed", NOW(), 19))
        await lasting.until("delta")
        async with following(caller, Last_Event_ID=str(leaving.client.seq)) as back:
            back.client = leaving.client
            assert await back.next() == "delta"
            assert back.client.body == lasting.client.body
        async with following(caller, Last_Event_ID="17") as stranger:
            assert await stranger.next() == "snapshot"


async def test_redis_away_is_stale_and_a_delta_makes_it_current(filled: World) -> None:
    async with (
        TcpProxy(filled.url) as proxy,
        site(proxy.url) as running,
        following(running.caller(await filled.token())) as follower,
    ):
        await follower.next()
        before = follower.client.body
        for change in (False, True):
            await proxy.cut()
            assert await follower.next() == "stale"
            assert follower.client.stale is not None
            assert follower.client.stale.reason == "Redis is away"
            if change:
                await filled.fold(placed("meanwhile", NOW(), 18))
            await proxy.mend()
            assert await follower.next() == "delta"
            assert follower.client.stale is None
            assert (follower.client.body != before) == change


async def test_a_fold_that_is_behind_is_stale_after_each_delta(filled: World, served: Site) -> None:
    async with following(served.caller(await filled.token())) as follower:
        await follower.next()
        filled.log.hangs = True
        assert await follower.next() == "stale"
        assert follower.client.stale is not None
        assert (follower.client.stale.lag_seconds or 0) >= 2
        await filled.fold(placed("late", NOW(), 18))
        assert [await follower.next(), await follower.next()] == ["delta", "stale"]
        filled.log.hangs = False
        assert await follower.next() == "delta"
        assert follower.client.stale is None


async def test_redis_killed_and_back_costs_a_reader_nothing_but_time(tmp_path: Path, customer: int) -> None:
    port = free_port()
    argv = ("--port", str(port), "--dir", str(tmp_path), "--appendonly", "yes", "--appendfsync", "always")
    async with AsyncExitStack() as servers, AsyncExitStack() as stack:
        server = await servers.enter_async_context(redis_server(port, *argv))
        filled = await stack.enter_async_context(world(f"redis://127.0.0.1:{port}/0", customer))
        await filled.put(group(3, member(18), member(19)))
        running = await stack.enter_async_context(site(filled.url))
        caller = running.caller(await filled.token())
        follower = await stack.enter_async_context(following(caller))
        await follower.next()
        await filled.fold(placed("before", NOW(), 18))
        await follower.until("delta")
        server.kill()
        await server.wait()
        assert await follower.next() == "stale"
        await servers.enter_async_context(redis_server(port, *argv))
        await follower.until("delta")
        await filled.fold(placed("after", NOW(), 18))
        while follower.client.members[18]["calls_today"] < 2:
            await follower.until("delta")
        assert (await caller.get(MONITOR)).text == follower.client.body
        assert follower.client.events.count("snapshot") == 1


async def test_a_slow_reader_gets_one_delta_for_all_that_it_missed(
    filled: World, served: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rotary_query.http.sse_readers.STALL_SECONDS", 60)
    callers = range(1000, 3000)
    await filled.put(group(3, *map(member, callers)))
    token = await filled.token()
    reader, writer = await asyncio.open_connection("127.0.0.1", served.service.port, limit=1024)
    head = f"GET {MONITOR}?deltas=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    writer.write(head.encode())
    await reader.readuntil(b"\r\n\r\n")
    caller = served.caller(token)
    async with following(caller) as quick:
        await quick.next()
        feeding = asyncio.create_task(quick.run())
        slow = await server_end(served, writer.get_extra_info("sockname")[1])
        rounds = 0

        async def is_stalled() -> bool:
            nonlocal rounds
            rounds += 1
            await filled.fold(*(placed(f"r{rounds}.{number}", NOW(), number) for number in callers))
            return bool(slow.get_write_buffer_size())

        await until(is_stalled, 30, "more is on its way than the sockets take")
        for number in range(5):
            await filled.fold(*(placed(f"l{number}.{one}", NOW(), one) for one in callers))
            await same(caller, quick)
            assert slow.get_write_buffer_size() < 2 * len(quick.client.body), "it is sent one event at a time"
        client, text = DeltaClient(), b""
        while client.body != quick.client.body:
            text += await asyncio.wait_for(reader.read(1 << 20), 5)
            *blocks, text = text.split(b"\n\n")
            for block in blocks:
                client.take_all(block.decode())
        assert client.events.count("snapshot") == 1
        assert len(client.events) < len(quick.client.events), "several changes came in one delta"
        feeding.cancel()
    writer.close()


async def server_end(served: Site, port: int) -> asyncio.Transport:
    """The server's transport of a stream whose client has this port."""
    found: dict[int, asyncio.Transport] = {}

    async def is_open() -> bool:
        for feed, _ in served.reader.streams._feeds.values():  # noqa: SLF001  # what a client can't see
            transports = [reader._transport for reader in feed.readers]  # noqa: SLF001
            found.update({one.get_extra_info("peername")[1]: one for one in transports})
        return port in found

    await until(is_open, 3, "the stream is open")
    return found[port]
