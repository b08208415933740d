"""A Redis server that a test configures itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rotary_stack.binaries import locate
from running import until


@asynccontextmanager
async def redis_server(port: int, *argv: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs redis-server with these arguments until the block ends, which begins when it listens on the port."""
    process = await asyncio.create_subprocess_exec(locate().redis_server, *argv, stdout=asyncio.subprocess.DEVNULL)
    try:
        await until(lambda: _listens(port), 10, "Redis listens")
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
