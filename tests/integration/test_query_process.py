"""The query service as a process."""

import asyncio
import json
import os
import signal
import sys

import aiohttp
import pytest

from integration.query_world import group, member, world
from integration.tcp_proxy import TcpProxy
from rotary.clock import system_clock
from running import free_port, program, until


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, "ROTARY_REDIS_URL is not set; expected redis://[user:password@]host:port/0"),
        (
            {"ROTARY_REDIS_URL": "postgresql://x"},
            "ROTARY_REDIS_URL is invalid; expected redis://[user:password@]host:port/0",
        ),
        (
            {"ROTARY_REDIS_URL": "redis://x", "ROTARY_QUERY_BIND": "8080"},
            "ROTARY_QUERY_BIND is invalid; expected host:port",
        ),
        (
            {"ROTARY_REDIS_URL": "redis://x", "ROTARY_CACHE_MEGABYTES": "0"},
            "ROTARY_CACHE_MEGABYTES is invalid; expected a whole number, 1 or more",
        ),
    ],
)
async def test_a_wrong_setting_is_one_line_and_exit_2(settings: dict[str, str], line: str) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ROTARY_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rotary_query", env=environ | settings, stderr=asyncio.subprocess.PIPE
    )
    _, told = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, told.decode()) == (2, f"rotary-query: {line}\n")


async def test_a_port_that_is_taken_is_one_line_and_exit_2(redis_url: str) -> None:
    taken = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    environ = os.environ | {
        "ROTARY_REDIS_URL": redis_url,
        "ROTARY_QUERY_BIND": f"127.0.0.1:{port}",
        "ROTARY_OPS_BIND": f"127.0.0.1:{free_port()}",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rotary_query", env=environ, stderr=asyncio.subprocess.PIPE
    )
    _, told = await asyncio.wait_for(process.communicate(), 20)
    taken.close()
    last = told.decode().splitlines()[-1]
    assert (process.returncode, last.startswith("rotary-query: ROTARY_QUERY_BIND: ")) == (2, True), told


async def test_it_starts_before_redis_does_and_stops_with_its_streams(redis_url: str, customer: int) -> None:
    async with world(redis_url, customer) as filled, TcpProxy(filled.url) as proxy, aiohttp.ClientSession() as session:
        await filled.put(group(3, member(18)))
        token = await filled.token()
        await proxy.cut()
        bind, ops = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        environ = os.environ | {"ROTARY_REDIS_URL": proxy.url, "ROTARY_QUERY_BIND": bind, "ROTARY_OPS_BIND": ops}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "rotary_query", env=environ, stderr=asyncio.subprocess.PIPE
        )

        headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
        url = f"http://{bind}/api/caller-id-groups/3/monitor"

        async def is_unready() -> bool:
            try:
                async with session.get(f"http://{ops}/readyz") as ready, session.get(url, headers=headers) as answer:
                    return (ready.status, answer.status) == (503, 503)
            except aiohttp.ClientConnectionError:  # its ports open one after the other
                return False

        await until(is_unready, 20, "it answers, and is not ready")
        await proxy.mend()

        async def answers() -> bool:
            async with session.get(url, headers=headers) as response:
                return response.status == 200

        await until(answers, 2, "it answers once Redis does")
        async with session.get(url, headers=headers) as response:
            assert (await response.content.readline()) == b"event: snapshot\n"
            began = asyncio.get_running_loop().time()
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(response.content.read(), 5)
        _, told = await asyncio.wait_for(process.communicate(), 5)
        assert process.returncode == 0
        assert asyncio.get_running_loop().time() - began < 5
    logged = [json.loads(line) for line in told.decode().splitlines()]
    assert [entry["event"] for entry in logged][-1] == "stopping"
    assert {entry["level"] for entry in logged} <= {"info", "warning"}


async def test_a_shifted_clock_is_a_rehearsal(redis_url: str, customer: int) -> None:
    async with world(redis_url, customer) as filled, aiohttp.ClientSession() as session:
        await filled.put(group(3, member(18)))
        token, bind = await filled.token(limit=5), f"127.0.0.1:{free_port()}"
        async with program("rotary_query", redis_url=filled.url, query_bind=bind, clock_offset="-86400"):
            url = f"http://{bind}/api/caller-id-groups/3/monitor"
            async with session.get(url, headers={"Authorization": f"Bearer {token}"}) as response:
                reset = int(response.headers["X-RateLimit-Reset"])
    assert abs(reset - (system_clock()() / 1000 - 86_400)) < 120
