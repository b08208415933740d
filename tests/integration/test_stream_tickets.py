"""Tickets: a stream for whoever can send no header; once, within a minute, for as much as the token is worth."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from integration.query_world import Caller, Site, World, group, hashed, member, site
from integration.tcp_proxy import TcpProxy
from integration.test_query_stream import MONITOR, event
from rotary.definitions import GroupDefinition
from rotary.redis import keys
from running import until

TICKETS = "/api/stream-tickets"
UNAUTHENTICATED = (401, '{"message":"Unauthenticated."}')


@pytest.fixture
def groups() -> list[GroupDefinition]:
    return [group(3, member(18)), group(4, member(19))]


async def ticket(caller: Caller) -> str:
    """A new one."""
    got = await caller.get(TICKETS, "POST")
    assert got.status == 201, got.text
    return str(json.loads(got.text)["data"]["ticket"])


@asynccontextmanager
async def opened(served: Site, name: str, path: str = MONITOR, **headers: str) -> AsyncIterator[Any]:
    """What an EventSource gets for a ticket."""
    async with served.caller(None).stream(f"{path}?ticket={name}", **headers) as response:
        yield response


async def refused(served: Site, name: str) -> tuple[int, str]:
    """The status and the body of what is no stream."""
    async with opened(served, name) as response:
        assert response.content_type == "application/json"
        return response.status, await response.text()


async def test_a_ticket_is_created_for_a_minute_and_is_not_stored(filled: World, served: Site) -> None:
    token = await filled.token(limit=600)
    got = await served.caller(token).get(TICKETS, "POST")
    assert got.status == 201
    assert got.headers["Cache-Control"] == "no-store"
    assert got.headers["X-RateLimit-Remaining"] == "599"
    data = json.loads(got.text)["data"]
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", data["ticket"])
    expires_at = datetime.strptime(data["expires_at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert 50 < (expires_at - datetime.now(UTC)).total_seconds() <= 60
    key = keys.ticket(hashed(data["ticket"]))
    assert await filled.client.get(key) == hashed(token).encode()
    assert 50_000 < await filled.client.pttl(key) <= 60_000
    stored = b" ".join([name async for name in filled.client.scan_iter()])
    assert data["ticket"].encode() not in stored


@pytest.mark.parametrize("query", ["", "&deltas=1"])
async def test_a_ticket_opens_one_stream(filled: World, served: Site, query: str) -> None:
    name = await ticket(served.caller(await filled.token(limit=600)))
    async with opened(served, name + query) as response:
        assert response.status == 200
        assert response.headers["X-RateLimit-Remaining"] == "598", "it counts as a request of its token"
        told = await event(response)
        assert told.name == "snapshot"
        assert ('"seq"' in told.data) == bool(query)
        assert await refused(served, name) == UNAUTHENTICATED
        assert await refused(served, name + query) == UNAUTHENTICATED


async def test_of_two_replicas_one_redeems_a_ticket(filled: World, served: Site) -> None:
    async with site(filled.url) as other:
        caller = served.caller(await filled.token())
        for _ in range(20):
            name = await ticket(caller)

            async def status(replica: Site, name: str = name) -> int:
                async with opened(replica, name) as response:
                    return int(response.status)

            replicas = (served, other, served, other)
            assert sorted(await asyncio.gather(*map(status, replicas))) == [200, 401, 401, 401]


async def test_a_ticket_expires(filled: World, served: Site) -> None:
    name = await ticket(served.caller(await filled.token()))
    key = keys.ticket(hashed(name))
    await filled.client.pexpire(key, 1)

    async def is_gone() -> bool:
        return not await filled.client.exists(key)

    await until(is_gone, 2, "it has expired")
    assert await refused(served, name) == UNAUTHENTICATED


async def test_a_ticket_opens_any_group_that_its_token_may_read(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token())
    async with opened(served, await ticket(caller), "/api/caller-id-groups/4/monitor") as response:
        assert json.loads((await event(response)).data)["data"]["group_id"] == 4
    stranger = served.caller(await filled.token(customer=filled.customer + 500_000))
    name = await ticket(stranger)
    assert await refused(served, name) == (404, '{"message":"Pool not found."}')
    assert await refused(served, name) == UNAUTHENTICATED, "it is used up, whatever the answer"


async def test_the_ticket_of_a_revoked_token_is_worth_nothing(filled: World, served: Site) -> None:
    token = await filled.token()
    early, late = [await ticket(served.caller(token)) for _ in range(2)]
    async with opened(served, early) as response:
        await event(response)
        await filled.revoke(token)
        assert await refused(served, late) == UNAUTHENTICATED
        while not response.content.at_eof():  # the stream ends, too
            await asyncio.wait_for(response.content.read(1 << 16), 3)


async def test_a_ticket_is_no_token(filled: World, served: Site) -> None:
    caller = served.caller(await filled.token())
    name = await ticket(caller)
    for path, accept in (
        (f"{MONITOR}?ticket={name}", "application/json"),
        (f"{MONITOR}?ticket={name}", "*/*"),
        (f"/api/caller-id-groups?ticket={name}", "text/event-stream"),
        (f"/api/caller-id-groups/3?ticket={name}", "text/event-stream"),
    ):
        got = await served.caller(None).get(path, Accept=accept)
        assert (got.status, got.text) == UNAUTHENTICATED
    head = await served.caller(None).get(f"{MONITOR}?ticket={name}", "HEAD", Accept="text/event-stream")
    assert head.status == 401
    assert (await served.caller(None).get(f"{TICKETS}?ticket={name}", "POST")).status == 401
    assert (await served.caller(name).get(MONITOR)).status == 401
    async with opened(served, name, Authorization="Bearer unknown") as response:
        assert response.status == 401, "a token that is sent counts"
    async with served.caller(caller.headers["Authorization"][7:]).stream(f"{MONITOR}?ticket={name}") as response:
        assert response.status == 200
    async with opened(served, name) as response:
        assert response.status == 200, "none of these used it up"


@pytest.mark.parametrize("name", ["", "x", "a" * 43, "a" * 44, "%41" * 43, "a" * 42 + "/", "ticket"])
async def test_what_is_no_ticket_is_refused(served: Site, name: str) -> None:
    assert await refused(served, name) == UNAUTHENTICATED


async def test_who_may_not_read_gets_no_ticket(filled: World, served: Site) -> None:
    for token, status in ((None, 401), ("unknown", 401), (await filled.token(scopes=("other",)), 403)):
        assert (await served.caller(token).get(TICKETS, "POST")).status == status
    limited = served.caller(await filled.token(limit=2))
    name = await ticket(limited)
    assert (await limited.get(TICKETS, "POST")).status == 201
    assert (await limited.get(TICKETS, "POST")).status == 429
    assert (await refused(served, name))[0] == 429, "a ticket is no way around the limit"


async def test_streams_by_ticket_count_against_the_limits_of_their_token(filled: World) -> None:
    async with site(filled.url, max_streams_per_token=1) as running:
        caller = running.caller(await filled.token())
        async with opened(running, await ticket(caller)) as response:
            await event(response)
            status, text = await refused(running, await ticket(caller))
            assert (status, "for this token" in text) == (429, True)


ORIGIN = "https://board.example"


async def test_the_path_has_its_own_methods(filled: World) -> None:
    async with site(filled.url, cors_origins=ORIGIN) as running:
        caller = running.caller(await filled.token())
        for method in ("GET", "HEAD", "PUT", "DELETE"):
            got = await caller.get(TICKETS, method)
            assert (got.status, got.headers["Allow"]) == (405, "POST, OPTIONS")
        assert (await caller.get(MONITOR, "POST")).headers["Allow"] == "GET, HEAD, OPTIONS"
        for path, allowed in ((TICKETS, "POST, OPTIONS"), (MONITOR, "GET, HEAD, OPTIONS")):
            asked = {"Origin": ORIGIN, "Access_Control_Request_Method": "POST"}
            before = await running.caller(None).get(path, "OPTIONS", **asked)
            assert (before.status, before.headers["Allow"]) == (204, allowed)
            assert before.headers["Access-Control-Allow-Methods"] == allowed
            assert "Authorization" in before.headers["Access-Control-Allow-Headers"]
            asked["Origin"] = "https://evil.example"
            other = await running.caller(None).get(path, "OPTIONS", **asked)
            assert not [name for name in other.headers if name.startswith("Access-Control")]
        created = await caller.get(TICKETS, "POST", Origin=ORIGIN)
        assert created.headers["Access-Control-Allow-Origin"] == ORIGIN


async def test_a_ticket_is_never_logged(filled: World) -> None:
    async with site(filled.url, access_log=True) as running:
        with capture_logs() as logs:
            name = await ticket(running.caller(await filled.token()))
            async with opened(running, name) as response:
                await event(response)
            await refused(running, name)

            async def are_logged() -> bool:
                return len([entry for entry in logs if entry["event"] == "request"]) == 3

            await until(are_logged, 3, "all three requests are logged")
    assert name not in str(logs)
    assert name not in str(vars(running.service.api._routes)), "nor remembered"  # noqa: SLF001


async def test_without_redis_there_are_no_tickets_and_none_is_used_up(filled: World) -> None:
    async with TcpProxy(filled.url) as proxy, site(proxy.url) as running:
        caller = running.caller(await filled.token())
        name = await ticket(caller)
        await proxy.cut()
        assert (await caller.get(TICKETS, "POST")).status == 503
        assert (await refused(running, name))[0] == 503
        await proxy.mend()

        async def is_open() -> bool:
            async with opened(running, name) as response:
                return bool(response.status == 200)

        await until(is_open, 5, "the ticket is redeemed when Redis is back")
