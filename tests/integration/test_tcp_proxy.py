"""The proxy of the tests leaves nothing open: what it forgot would be found, and fail, in a later test."""

import asyncio
import socket
from contextlib import suppress

import pytest

from integration.tcp_proxy import TcpProxy


async def test_a_connection_ends_with_the_proxy_although_the_target_had_not_answered(redis_url: str) -> None:
    async with TcpProxy(redis_url) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    async with asyncio.timeout(5):
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize("turns", range(6))
async def test_a_connection_ends_with_the_proxy_also_if_it_has_come_in_that_moment(redis_url: str, turns: int) -> None:
    async with TcpProxy(redis_url) as proxy:
        caller = socket.create_connection(("127.0.0.1", proxy.port))
        for _ in range(turns):  # of the event loop, which accepts in the first, and serves in a later one
            await asyncio.sleep(0)
    caller.setblocking(False)
    with caller, suppress(ConnectionResetError):
        assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(caller, 1), 5) == b""
