"""The monitor as server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from msgspec import Struct

from histories import flagged, placed
from integration.query_world import Site, World, group, member, site
from integration.tcp_proxy import TcpProxy
from rotary.clock import system_clock
from rotary.definitions import GroupDefinition
from running import until

NOW = system_clock()
MONITOR = "/api/caller-id-groups/3/monitor"


class Told(Struct):
    """One event, or a comment (`name` is empty)."""

    name: str
    id: str = ""
    data: str = ""


@pytest.fixture
def groups() -> list[GroupDefinition]:
    return [group(3, member(18), member(19))]


async def next_event(response: aiohttp.ClientResponse, seconds: float = 3) -> Told | None:
    """What comes next; None at the end of the stream."""
    fields: dict[str, str] = {}
    async with asyncio.timeout(seconds):
        while (line := (await response.content.readline()).decode()) not in ("\n", ""):
            name, _, value = line.rstrip("\n").partition(":")
            fields[name] = value.removeprefix(" ")
    if not line:
        return None
    return Told(fields.get("event", ""), fields.get("id", ""), fields.get("data", ""))


async def event(response: aiohttp.ClientResponse, seconds: float = 3) -> Told:
    """The next event, comments left out."""
    while (told := await next_event(response, seconds)) is not None:
        if told.name:
            return told
    pytest.fail("the stream ended")


async def snapshot(response: aiohttp.ClientResponse, seconds: float = 3) -> Told:
    """The next snapshot, whatever was stale before it."""
    while (told := await event(response, seconds)).name != "snapshot":
        assert told.name == "stale"
    return told


@asynccontextmanager
async def watching_by_proxy(filled: World) -> AsyncIterator[tuple[TcpProxy, Site, aiohttp.ClientResponse]]:
    """A stream of a service whose way to Redis can be cut."""
    async with (
        TcpProxy(filled.url) as proxy,
        site(proxy.url) as running,
        running.caller(await filled.token()).stream(MONITOR) as response,
    ):
        yield proxy, running, response


def calls_today(told: Told, position: int = 0) -> int:
    return int(json.loads(told.data)["data"]["members"][position]["calls_today"])


async def test_the_snapshot_comes_at_once_and_then_every_change(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token(limit=600))
    body = await caller.get(MONITOR)
    async with caller.stream(MONITOR) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["X-RateLimit-Remaining"] == "598"
        first = await event(response)
        assert first == Told("snapshot", body.headers["ETag"], body.text)
        for number in range(1, 4):
            await filled.fold(placed(str(number), NOW(), 18))
            assert calls_today(await event(response)) == number
        await filled.put(group(3, member(18), name="Renamed"))
        assert json.loads((await event(response)).data)["data"]["group_name"] == "Renamed"


async def test_at_most_ten_snapshots_a_second_and_the_last_is_never_missed(filled: World, served: Site) -> None:
    async with served.caller(await filled.token()).stream(MONITOR) as response:
        await event(response)
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def flood() -> None:
            for number in range(150):
                await filled.fold(placed(str(number), NOW(), 18))
                await asyncio.sleep(0.005)

        flooding = asyncio.create_task(flood())
        shown, seen = 0, 0
        while shown < 150:
            shown = calls_today(await event(response))
            seen += 1
        await flooding
        assert seen <= (loop.time() - began) * 10 + 2
        assert seen >= 3


async def test_who_has_the_snapshot_is_not_sent_it_again(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token())
    async with caller.stream(MONITOR) as response:
        first = await event(response)
    for calls, quoted in enumerate((True, False), start=1):
        known = first.id if quoted else first.id.strip('"')
        async with caller.stream(MONITOR, Last_Event_ID=known) as response:
            await filled.fold(placed(known, NOW(), 18))
            first = await event(response)
            assert calls_today(first) == calls
    async with caller.stream(MONITOR, Last_Event_ID="older") as response:
        assert (await event(response)).id == first.id


async def test_time_alone_is_told(filled: World) -> None:
    shift = 0
    async with site(filled.url, clock=lambda: NOW() + shift) as running:
        await filled.fold(flagged("f", "user_report", NOW(), 18))
        async with running.caller(await filled.token()).stream(MONITOR) as response:
            assert json.loads((await event(response)).data)["data"]["in_cooldown"] == 1
            shift = 3_601_000
            assert json.loads((await event(response)).data)["data"]["in_cooldown"] == 0


async def test_a_comment_keeps_a_quiet_stream_open(
    filled: World, served: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rotary_query.http.sse_readers.COMMENT_SECONDS", 0.5)
    async with served.caller(await filled.token()).stream(MONITOR) as response:
        await event(response)
        for _ in range(2):
            assert await next_event(response) == Told("")


async def test_failures_are_ordinary_answers(filled: World, served: Site) -> None:
    own, stranger = await filled.token(), await filled.token(customer=filled.customer + 500_000)
    for token, path, status in (
        (None, MONITOR, 401),
        (stranger, MONITOR, 404),
        (own, "/api/caller-id-groups/9/monitor", 404),
    ):
        async with served.caller(token).stream(path) as response:
            assert response.status == status
            assert response.content_type == "application/json"
    async with served.caller(own).stream("/api/caller-id-groups/3") as response:
        assert response.content_type == "application/json", "only the monitor streams"


async def test_a_stream_ends_with_its_token(filled: World, served: Site) -> None:
    token, other = await filled.token(), await filled.token()
    async with served.caller(token).stream(MONITOR) as response, served.caller(other).stream(MONITOR) as lasting:
        await event(response)
        await event(lasting)
        await filled.revoke(token)
        assert await next_event(response, 2) is None
        await filled.fold(placed("after", NOW(), 18))
        assert calls_today(await event(lasting)) == 1


async def test_a_stream_ends_with_its_group(filled: World, served: Site) -> None:
    async with served.caller(await filled.token()).stream(MONITOR) as response:
        await event(response)
        await filled.remove(3)
        assert await next_event(response, 2) is None


async def test_who_goes_away_is_forgotten(filled: World, served: Site) -> None:
    streams = served.reader.streams
    async with served.caller(await filled.token()).stream(MONITOR) as response:
        await event(response)
        assert streams.count == 1
        response.close()

    async def forgotten() -> bool:
        return streams.count == 0

    await until(forgotten, 2, "no stream is counted")


async def test_who_does_not_drain_is_disconnected(filled: World, served: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rotary_query.http.sse_readers.STALL_SECONDS", 0.5)
    monkeypatch.setattr("rotary_query.http.sse.SPACING_SECONDS", 0.01)
    await filled.put(group(3, *(member(1000 + number) for number in range(2000))))
    streams, token = served.reader.streams, await filled.token()
    _, writer = await asyncio.open_connection("127.0.0.1", served.service.port, limit=1024)
    head = f"GET {MONITOR} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nAuthorization: Bearer {token}\r\n\r\n"
    writer.write(head.encode())

    async def opened() -> bool:
        return streams.count == 1

    await until(opened, 3, "the stream is open")
    number = 0

    async def disconnected() -> bool:
        nonlocal number
        number += 1
        await filled.fold(placed(f"n{number}", NOW(), 1000))
        return streams.count == 0

    await until(disconnected, 20, "the reader that does not read is disconnected")
    writer.close()


async def test_a_stream_outlives_an_outage(filled: World) -> None:
    async with watching_by_proxy(filled) as (proxy, _, response):
        await event(response)
        await proxy.cut()
        await filled.fold(placed("meanwhile", NOW(), 18))
        await proxy.mend()
        assert calls_today(await snapshot(response, 4)) == 1


async def test_many_watch_one_group(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token())
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        headers = caller.headers | {"Accept": "text/event-stream"}
        responses: list[Any] = await asyncio.gather(
            *(session.get(served.base + MONITOR, headers=headers) for _ in range(100))
        )
        await asyncio.gather(*(snapshot(response) for response in responses))
        await filled.fold(placed("one", NOW(), 18))
        told = await asyncio.gather(*(snapshot(response) for response in responses))
        assert {calls_today(one) for one in told} == {1}
        assert served.reader.streams.count == 100


async def test_more_streams_than_allowed_are_refused(filled: World) -> None:
    async with site(filled.url, max_streams=1) as running:
        caller = running.caller(await filled.token())
        async with caller.stream(MONITOR) as response:
            await event(response)
            async with caller.stream(MONITOR) as second:
                assert second.status == 503
                assert int(second.headers["Retry-After"]) > 0


async def test_a_token_and_a_customer_have_streams_of_their_own(filled: World) -> None:
    async with site(filled.url, max_streams_per_token=2, max_streams_per_customer=3) as running:
        one, two = running.caller(await filled.token()), running.caller(await filled.token())
        async with one.stream(MONITOR) as first, one.stream(MONITOR):
            async with one.stream(MONITOR) as refused:
                assert (refused.status, refused.headers["Retry-After"]) == (429, "30")
                message = "Too many streams are open for this token. Retry after 30 seconds."
                assert await refused.json() == {"message": message}
            assert (await one.get(MONITOR)).status == 200, "a single body is not a stream"
            async with two.stream(MONITOR) as third, two.stream(MONITOR) as refused:
                assert third.status == 200
                assert refused.status == 429
                assert "customer" in (await refused.json())["message"]
            first.close()

            async def open_again() -> bool:
                async with two.stream(MONITOR) as again:
                    return bool(again.status == 200)

            await until(open_again, 3, "a closed stream makes room")


async def test_stopping_ends_the_streams(filled: World) -> None:
    async with aiohttp.ClientSession() as session:
        async with site(filled.url) as running:
            headers = running.caller(await filled.token()).headers | {"Accept": "text/event-stream"}
            response = await session.get(running.base + MONITOR, headers=headers)
            await event(response)
        assert await next_event(response) is None
