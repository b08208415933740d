"""Connections: how many, how slow and how large, and those that close one half."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
from structlog.testing import capture_logs

from integration.query_world import Site, World, site
from integration.test_query_hardening import LIST, Raw, answer, exchange, request
from running import free_port, until

MONITOR = LIST + "/3/monitor"


class Client:
    """Connections by hand, all closed at the end of the test."""

    def __init__(self) -> None:
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A new connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        self._writers.append(writer)
        return reader, writer

    async def ask(self, port: int, sent: bytes) -> Raw:
        """The answer to what is sent over a new connection."""
        reader, writer = await self.connect(port)
        writer.write(sent)
        return await answer(reader)

    async def close(self) -> None:
        """Closes all connections."""
        for writer in self._writers:
            writer.close()
        for writer in self._writers:
            with suppress(ConnectionError):
                await writer.wait_closed()
        self._writers.clear()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    made = Client()
    yield made
    await made.close()


async def test_a_client_that_closes_its_half_is_answered(filled: World, served: Site, client: Client) -> None:
    token = await filled.token()
    for requests in (1, 3):
        reader, writer = await client.connect(served.service.port)
        writer.write(request(MONITOR, token) * requests)
        writer.write_eof()
        assert [(await answer(reader)).status for _ in range(requests)] == [200] * requests
        assert await asyncio.wait_for(reader.read(), 3) == b"", "and then the connection is closed"


async def test_an_idle_client_that_closes_its_half_is_let_go(filled: World, served: Site, client: Client) -> None:
    token = await filled.token()
    reader, writer = await client.connect(served.service.port)
    writer.write(request(LIST, token))
    await answer(reader)
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 3) == b""


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_stream_to_a_client_that_closes_its_half_ends_after_its_snapshot(
    filled: World, served: Site, client: Client, at_once: bool
) -> None:
    token = await filled.token()
    reader, writer = await client.connect(served.service.port)
    writer.write(request(MONITOR, token, extra="Accept: text/event-stream\r\n"))
    if at_once:
        writer.write_eof()
        await reader.readuntil(b"event: snapshot\n")
    else:
        await reader.readuntil(b"event: snapshot\n")
        writer.write_eof()
    rest = await asyncio.wait_for(reader.read(), 3)
    assert rest.endswith(b"\n\n")

    async def forgotten() -> bool:
        return served.reader.streams.count == 0

    await until(forgotten, 3, "the stream is over")


@asynccontextmanager
async def connected(
    filled: World, client: Client
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, str]]:
    """A connection to a service that has just started, and a token to use on it."""
    token = await filled.token()
    async with site(filled.url) as running:
        yield *(await client.connect(running.service.port)), token


async def test_a_head_that_takes_too_long_is_answered_with_408_and_logged(
    filled: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rotary.http.protocol.HEAD_SECONDS", 0.5)
    async with connected(filled, client) as (reader, writer, token):
        writer.write(request(LIST, token) + b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        assert (await answer(reader)).status == 200
        with capture_logs() as logs:

            async def drip() -> None:
                while True:
                    writer.write(b"a")
                    await asyncio.sleep(0.1)

            dripping = asyncio.create_task(drip())
            late = await answer(reader)
            assert await asyncio.wait_for(reader.read(), 3) == b""
            dripping.cancel()
        assert (late.status, late.body) == (408, b'{"message":"The request took too long to arrive."}')
        assert late.header("Connection") == "close"
        assert [entry["event"] for entry in logs] == ["request head too slow"]


async def test_what_takes_long_without_being_a_slow_head_is_left_alone(
    filled: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rotary.http.protocol.HEAD_SECONDS", 0.2)
    async with connected(filled, client) as (reader, writer, token):
        for text in (
            request(LIST, token),
            request(LIST, token) + b"\r\n",
            request(LIST, token, extra="Content-Length: 5\r\n") + b"hello",
        ):
            writer.write(text)
            assert (await answer(reader)).status == 200
            await asyncio.sleep(0.5)
        writer.write(request(MONITOR, token, extra="Accept: text/event-stream\r\n"))
        await reader.readuntil(b"event: snapshot\n")
        await asyncio.sleep(0.5)
        assert not reader.at_eof()


async def test_large_heads_within_the_limit_are_read_in_any_pieces(filled: World, served: Site, client: Client) -> None:
    token = await filled.token()
    large = request(LIST, token, extra=f"X-Large: {'a' * 7000}\r\n" * 4)
    assert 28_000 < len(large) < 32_768
    assert [raw.status for raw in await exchange(served, *[large] * 100)] == [200] * 100
    reader, writer = await client.connect(served.service.port)
    for at in range(0, len(large), 1000):
        writer.write(large[at : at + 1000])
        await asyncio.sleep(0)
    assert (await answer(reader)).status == 200
    body = request(LIST, token, extra="Content-Length: 60000\r\n") + b"b" * 60_000
    writer.write(body + large)
    assert [(await answer(reader)).status for _ in range(2)] == [200, 200]


async def test_an_address_has_so_many_connections_and_a_trusted_proxy_any_number(filled: World, client: Client) -> None:
    token = await filled.token()
    async with site(filled.url, max_connections_per_address=3) as running:
        opened = [await client.connect(running.service.port) for _ in range(3)]
        for reader, writer in opened:
            writer.write(request(LIST, token))
            assert (await answer(reader)).status == 200
        with capture_logs() as logs:
            for _ in range(5):
                reader, writer = await client.connect(running.service.port)
                writer.write(request(LIST, token))
                refused = await answer(reader)
                assert (refused.status, refused.header("Retry-After")) == (503, "10")
                assert refused.body == b'{"message":"Too many connections are open."}'
                assert await asyncio.wait_for(reader.read(), 3) == b""
        (entry,) = logs
        assert (entry["event"], entry["last_from"]) == ("too many connections from an address", "127.0.0.1")
        async with aiohttp.ClientSession() as session, session.get(running.ops + "/metrics") as response:
            metrics = await response.text()
        assert 'rotary_query_connections_refused_total{reason="address"} 5.0' in metrics
        assert "rotary_query_connections 3.0" in metrics
        opened.pop()[1].close()

        async def admitted() -> bool:
            (raw,) = await exchange(running, request(LIST, token))
            return raw.status == 200

        await until(admitted, 3, "a closed connection makes room")
    async with site(filled.url, max_connections_per_address=3, trusted_proxies="127.0.0.1") as running:
        opened = [await client.connect(running.service.port) for _ in range(6)]
        for reader, writer in opened:
            writer.write(request(LIST, token))
            assert (await answer(reader)).status == 200


@asynccontextmanager
async def limited(environ: Mapping[str, str], files: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A query service with a hard limit of open files, and a lower soft one."""
    command = f"ulimit -Sn {files // 4}; ulimit -Hn {files}; exec {sys.executable} -m rotary_query"
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", command, env=os.environ | environ, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_idle_connections_up_to_the_file_limit_shut_nobody_out(filled: World, client: Client) -> None:
    """With 256 files there are 128 connections; those who came first are served, and the log says what is wrong."""
    token, port, ops = await filled.token(), free_port(), f"127.0.0.1:{free_port()}"
    environ = {
        "ROTARY_REDIS_URL": filled.url,
        "ROTARY_QUERY_BIND": f"127.0.0.1:{port}",
        "ROTARY_OPS_BIND": ops,
        "ROTARY_MAX_CONNECTIONS_PER_ADDRESS": "1000",
    }

    async def is_ready() -> bool:
        try:
            async with aiohttp.ClientSession() as session, session.get(f"http://{ops}/readyz") as response:
                return bool(response.status == 200)
        except aiohttp.ClientError:
            return False

    async def is_served() -> bool:
        return (await client.ask(port, request(LIST, token))).status == 200

    async with limited(environ, 256) as process:
        await until(is_ready, 20, "it is ready")
        reader, writer = await client.connect(port)
        writer.write(request(LIST, token))
        writer.write_eof()
        assert (await answer(reader)).status == 200, "a client that closes its half is answered, on uvloop too"
        assert await asyncio.wait_for(reader.read(), 3) == b""
        reader, writer = await client.connect(port)
        idle = [(await client.connect(port)) for _ in range(200)]
        writer.write(request(LIST, token))
        assert (await answer(reader)).status == 200
        assert await is_ready(), "the operator gets in"
        assert {(await answer(refused)).status for refused, _ in idle[127:]} == {503}
        await client.close()
        await until(is_served, 5, "others get in again")
        process.terminate()
        _, told = await asyncio.wait_for(process.communicate(), 15)
    logged = [json.loads(line) for line in told.decode().splitlines()]
    (files,) = [entry for entry in logged if entry["event"] == "open files"]
    assert (files["before"], files["limit"], files["connections"]) == (64, 256, 128)
    assert "too many connections" in [entry["event"] for entry in logged]
