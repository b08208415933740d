"""The proxy of the tests leaves nothing open: what it forgot would be found, and fail, in a later test."""

import asyncio
from contextlib import suppress

from integration.tcp_proxy import TcpProxy


async def test_a_connection_ends_with_the_proxy_although_the_target_had_not_answered(redis_url: str) -> None:
    async with TcpProxy(redis_url) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    async with asyncio.timeout(5):
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()
