"""What the engine's clients do when answers are missing, late, or of somebody else: a server that misbehaves."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trustme
from aiohttp import web

from engine_clients import KINDS, PATIENT, PICKED, Clients
from rotary.engine import (
    ConfigurationError,
    EngineLimits,
    EngineUnavailableError,
    PickRequest,
    RateLimitedError,
)

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@pytest.fixture(params=KINDS)
async def clients(request: pytest.FixtureRequest) -> AsyncIterator[Clients]:
    made = Clients(request.param)
    yield made
    await made.close()


class Server:
    """Answers each request with the next of the answers, the last of them for ever; None never comes."""

    def __init__(self, *answers: web.Response | None) -> None:
        self.url = ""
        self.keys: list[str] = []
        self.connections: set[object] = set()
        self.over = asyncio.Event()
        self._answers = list(answers)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.keys.append(request.headers.get("Idempotency-Key", ""))
        self.connections.add(request.transport)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if answer is None:
            await self.over.wait()
            return web.Response()
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)


@asynccontextmanager
async def serving(*answers: web.Response | None, context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(*answers)
    runner = web.ServerRunner(web.Server(server.handle), shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    scheme = "http" if context is None else "https"
    server.url = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}/behind/a/path/"
    try:
        yield server
    finally:
        server.over.set()
        await runner.cleanup()


def picked() -> web.Response:
    return web.json_response({"data": PICKED}, status=201)


def closed(**headers: str) -> web.Response:
    return web.json_response({"message": "Redis is away."}, status=503, headers=headers)


async def test_a_request_is_sent_again_with_its_key_until_the_engine_is_back(clients: Clients) -> None:
    async with serving(closed(), web.Response(status=502, text="<html>"), picked()) as server:
        client = await clients.open(server.url, "token")
        assert (await client.pick(3)).id == "01JD-18"
        assert len(server.keys) == 3
        assert len(set(server.keys)) == 1
        assert (await client.pick(3)).id == "01JD-18"
        assert server.keys[3] != server.keys[0]
        assert len(server.connections) == 1


async def test_an_attempt_without_an_answer_is_given_up_and_repeated(clients: Clients) -> None:
    async with serving(None, picked()) as server:
        limits = EngineLimits(deadline_seconds=60, attempt_seconds=0.2)
        client = await clients.open(server.url, "token", limits)
        assert (await client.pick(3, idempotency_key="call-1")).id == "01JD-18"
        assert server.keys == ["call-1", "call-1"]


async def test_an_engine_that_stays_silent_is_unavailable_at_the_deadline(clients: Clients) -> None:
    async with serving(None) as server:
        client = await clients.open(server.url, "token", EngineLimits(deadline_seconds=0.3, attempt_seconds=0.1))
        with pytest.raises(EngineUnavailableError, match=r"did not answer within 0\.3 s"):
            await client.pick(3)


async def test_an_engine_that_is_closed_for_longer_than_the_deadline_is_not_asked_again(clients: Clients) -> None:
    async with serving(closed(**{"Retry-After": "3600"})) as server:
        client = await clients.open(server.url, "token", PATIENT)
        with pytest.raises(EngineUnavailableError, match="Redis is away") as raised:
            await client.pick(3)
        assert raised.value.retry_after == 3600
        assert len(server.keys) == 1


async def test_a_limit_that_ends_after_the_deadline_is_told_at_once(clients: Clients) -> None:
    limited = web.json_response({"message": "Too many requests."}, status=429, headers={"Retry-After": "3600"})
    async with serving(limited) as server:
        client = await clients.open(server.url, "token", PATIENT)
        with pytest.raises(RateLimitedError) as raised:
            await client.pick(3)
        assert raised.value.retry_after == 3600


def ours(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What the client logged: the server of these tests logs too, if an earlier test had it do so."""
    return [record for record in caplog.records if record.name == "rotary.engine"]


async def test_a_release_that_fails_on_leaving_does_not_hide_the_callers_own_outcome(
    clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(picked(), closed(**{"Retry-After": "3600"})) as server:
        client = await clients.open(server.url, "token", PATIENT)
        assert (await client.hold(3)).id == "01JD-18"
    assert [record.message for record in ours(caplog)] == [
        "pick 01JD-18 not released, it expires by itself: Redis is away."
    ]


async def test_a_batch_of_picks_waits_once_for_an_engine_that_is_away(
    clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    batch = web.json_response({"data": [PICKED] * 3}, status=201)
    async with serving(batch, closed(**{"Retry-After": "3600"})) as server:
        client = await clients.open(server.url, "token")
        assert len(await client.hold_many(3, [PickRequest()] * 3, placed=0)) == 3
    assert all("expires by itself" in record.message for record in ours(caplog))
    assert ours(caplog)


async def test_tls_needs_a_trusted_certificate(clients: Clients) -> None:
    authority = trustme.CA()
    there, here = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(there)
    authority.configure_trust(here)
    async with serving(picked(), context=there) as server:
        trusting = await clients.open(server.url, "token", ssl_context=here)
        assert (await trusting.pick(3)).id == "01JD-18"
        untrusting = await clients.open(server.url, "token", EngineLimits(deadline_seconds=3600))
        with pytest.raises(ConfigurationError, match="certificate is not trusted"):
            await untrusting.pick(3)
