"""Clients that wait to be told before they send a body, as libcurl does where it is long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from integration.engine_world import PATH, EngineWorld, engine_world
from pick_groups import group, member

pytestmark = pytest.mark.asyncio(loop_scope="function")

SECONDS = 5
"""The engine waits ten for a body: whoever is answered within these was answered at once."""
BODY = b'{"lead_id": "L-1"}'


@pytest_asyncio.fixture(loop_scope="function")
async def world(redis_url: str) -> AsyncIterator[EngineWorld]:
    async with engine_world(redis_url) as one:
        await one.picks.define(group([member(1)]))
        yield one


class Waiting:
    """A client that has sent a head and no body."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        """Sends the body, or another request."""
        self._writer.write(data)

    async def head(self) -> str:
        """The next head that arrives, an interim one too."""
        return (await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), SECONDS)).decode()


def head_of(token: str, *, version: str = "1.1", expect: str = "Expect: 100-continue\r\n") -> bytes:
    """The head of a request for one pick."""
    return (
        f"POST {PATH}/picks HTTP/{version}\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Length: {len(BODY)}\r\n{expect}\r\n"
    ).encode()


@asynccontextmanager
async def client(world: EngineWorld, head: bytes) -> AsyncIterator[Waiting]:
    reader, writer = await asyncio.open_connection("127.0.0.1", world.service.port)
    try:
        writer.write(head)
        yield Waiting(reader, writer)
    finally:
        writer.close()


@pytest.mark.parametrize("expect", ["Expect: 100-continue\r\n", "expect: 100-Continue\r\n"])
async def test_a_client_that_waits_is_told_to_send_its_body(world: EngineWorld, expect: str) -> None:
    async with client(world, head_of(await world.token(), expect=expect)) as waiting:
        assert await waiting.head() == "HTTP/1.1 100 Continue\r\n\r\n"
        waiting.send(BODY)
        assert (await waiting.head()).startswith("HTTP/1.1 201 ")


async def test_a_client_that_does_not_wait_is_told_nothing_in_between(world: EngineWorld) -> None:
    async with client(world, head_of(await world.token()) + BODY) as waiting:
        assert (await waiting.head()).startswith("HTTP/1.1 201 ")


async def test_a_client_that_is_refused_need_not_send_its_body(world: EngineWorld) -> None:
    async with client(world, head_of("made-up")) as waiting:
        assert (await waiting.head()).startswith("HTTP/1.1 401 ")


async def test_a_client_of_http_1_0_is_told_nothing_in_between(world: EngineWorld) -> None:
    async with client(world, head_of(await world.token(), version="1.0")) as waiting:
        waiting.send(BODY)
        assert (await waiting.head()).startswith("HTTP/1.1 201 ")
