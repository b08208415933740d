"""rotary-campaigns as the console meets it: what is sent there, what comes back, and what is told when it fails."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from integration.console_world import Browser, WholeWorld, console_world
from rotary.postgres.connection import Connection
from rotary_console.proxy import upstream
from running import free_port, until

OWN = "/api/customers/7"
MANAGEMENT = f"{OWN}/management"
CAMPAIGNS = f"{OWN}/telesales/campaigns"


@pytest.fixture
async def world(
    database_url: str, redis_url: str, broker_url: str, connection: Connection
) -> AsyncIterator[WholeWorld]:
    async with console_world(database_url, redis_url, broker_url, connection) as made:
        yield made


@pytest.fixture
async def admin(world: WholeWorld) -> Browser:
    return await world.signed_in("admin")


async def test_only_what_the_contract_names_is_passed_on(world: WholeWorld, admin: Browser) -> None:
    seen: list[Any] = []

    async def campaigns(request: web.Request) -> web.Response:
        seen.append(request)
        headers = {"ETag": '"5-a"', "Retry-After": "7", "Set-Cookie": "evil=1", "Location": "https://evil.example/"}
        return web.json_response({"data": 1}, headers=headers | {"X-Powered-By": "x"})

    async with behind(world, campaigns):
        got = await admin.ask(
            "PUT",
            f"{CAMPAIGNS}/5?a=1&b=%2F",
            {"name": "x"},
            If_Match='"4"',
            Idempotency_Key="k",
            X_Request_Id="mine",
            Authorization="Bearer stolen",
            X_Evil="1",
        )
    (request,) = seen
    assert request.raw_path == "/api/telesales/campaigns/5?a=1&b=%2F"
    assert (request.headers["If-Match"], request.headers["Idempotency-Key"]) == ('"4"', "k")
    assert request.headers["X-Request-Id"] == got.headers["X-Request-Id"] == "mine"
    assert request.headers["Authorization"].startswith("Bearer rot_")
    assert not {"Cookie", "X-Evil", "Origin", "X-Rotary-Console", "X-Forwarded-For"} & set(request.headers)
    assert (got.headers["ETag"], got.headers["Retry-After"]) == ('"5-a"', "7")
    assert not {"Location", "X-Powered-By"} & set(got.headers)
    assert "evil" not in str(got.headers.getall("Set-Cookie", []))
    assert "default-src 'none'" in got.headers["Content-Security-Policy"]


@asynccontextmanager
async def behind(world: WholeWorld, handler: Any) -> AsyncIterator[None]:
    """Puts something else in the place of rotary-campaigns."""
    application = web.Application(client_max_size=64 * 2**20)
    application.router.add_route("*", "/{path:.*}", handler)
    passing = world.service.parts.upstream
    before = passing._url  # noqa: SLF001  # the setting of a running service
    async with TestServer(application) as server:
        passing._url = server.make_url("").origin()  # noqa: SLF001
        yield
    passing._url = before  # noqa: SLF001


async def test_no_redirection_is_followed(world: WholeWorld, admin: Browser) -> None:
    asked: list[str] = []

    async def campaigns(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=307, headers={"Location": "/api/management/tokens"})

    async with behind(world, campaigns):
        assert (await admin.ask("GET", CAMPAIGNS)).status == 307
    assert asked == ["/api/telesales/campaigns"]


async def test_campaigns_being_down_is_told(world: WholeWorld, admin: Browser) -> None:
    world.service.parts.upstream._url = URL(f"http://127.0.0.1:{free_port()}")  # noqa: SLF001
    got = await admin.ask("GET", CAMPAIGNS)
    assert (got.status, got.headers["Retry-After"]) == (503, "2")
    assert got.text == '{"message":"The campaigns service does not answer. Try again soon."}'


async def test_campaigns_that_break_off_or_hang_are_told(
    world: WholeWorld, admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with behind(world, breaks):
        got = await admin.ask("GET", CAMPAIGNS)
        assert (got.status, got.text) == (502, '{"message":"The campaigns service broke off its answer."}')

    async def hangs(_request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    session = world.service.parts.upstream._session  # noqa: SLF001
    monkeypatch.setattr(session, "_timeout", aiohttp.ClientTimeout(sock_read=0.2))
    async with behind(world, hangs):
        got = await admin.ask("GET", CAMPAIGNS)
    assert (got.status, got.text) == (504, '{"message":"The campaigns service takes too long to answer."}')


async def test_an_answer_that_is_not_complete_is_not_shown_as_complete(world: WholeWorld, admin: Browser) -> None:
    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"x" * 500)
        assert request.transport is not None
        request.transport.abort()
        return response

    async with behind(world, half):
        with pytest.raises(aiohttp.ClientError):
            await admin.ask("GET", CAMPAIGNS)


async def test_a_token_that_campaigns_do_not_know_any_more_is_replaced(world: WholeWorld, admin: Browser) -> None:
    await admin.done(200, "GET", CAMPAIGNS)
    rows = await world.connection.fetch(
        "DELETE FROM api_tokens WHERE owner_session_id IS NOT NULL RETURNING token_sha256"
    )
    await world.campaigns.forget([row["token_sha256"].hex() for row in rows])

    async def works() -> bool:
        return (await admin.ask("POST", CAMPAIGNS, {"name": "x", "dialer_mode": "manual"})).status in {201, 409}

    await until(works, 5, "a request with a new token")


async def test_a_user_may_not_hold_every_connection(world: WholeWorld, admin: Browser) -> None:
    release = asyncio.Event()

    async def waits(_request: web.Request) -> web.Response:
        await release.wait()
        return web.json_response({})

    other = await world.signed_in("viewer")
    async with behind(world, waits):
        asked = [asyncio.create_task(admin.ask("GET", CAMPAIGNS)) for _ in range(upstream.MAX_AT_ONCE + 3)]

        async def refused() -> bool:
            return sum(task.done() for task in asked) == 3

        await until(refused, 10, "what is too much is refused")
        waiting = asyncio.create_task(other.ask("GET", CAMPAIGNS))
        release.set()
        got = await asyncio.gather(*asked)
        assert sorted(one.status for one in got) == [200] * upstream.MAX_AT_ONCE + [429] * 3
        assert (await waiting).status == 200


async def test_whoever_leaves_a_stream_ends_it(world: WholeWorld, admin: Browser) -> None:
    began = asyncio.Event()

    async def streams(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"event: progress\n\n")
        began.set()
        await asyncio.sleep(60)
        return response

    async with behind(world, streams):
        asked = asyncio.create_task(admin.ask("GET", f"{MANAGEMENT}/imports/1", Accept="text/event-stream"))
        await asyncio.wait_for(began.wait(), 10)
        asked.cancel()

        async def nothing_is_under_way() -> bool:
            return not world.service.parts.upstream._under_way  # noqa: SLF001

        await until(nothing_is_under_way, 10, "the stream is given up")
