"""Services of a test's own beside the stack's: with other settings, by way of a proxy."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp

from faults.world import World, until
from rotary_stack.launch import leashed


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def running(module: str, settings: Mapping[str, str], session: aiohttp.ClientSession) -> AsyncIterator[None]:
    """One service, from the moment it is ready; SIGTERM afterwards, and it must end."""
    ops = f"127.0.0.1:{free_port()}"
    process = await asyncio.create_subprocess_exec(
        *leashed((sys.executable, "-P", "-m", module)),
        env={**os.environ, **settings, "ROTARY_OPS_BIND": ops},
        stdin=asyncio.subprocess.DEVNULL,
    )

    async def ready() -> bool:
        assert process.returncode is None, f"{module} ended with status {process.returncode}"
        try:
            async with session.get(f"http://{ops}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    try:
        await until(ready, f"{module} is ready")
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 12)
        finally:
            if process.returncode is None:
                process.kill()


@asynccontextmanager
async def other_consumers(world: World, count: int, settings: Mapping[str, str]) -> AsyncIterator[None]:
    """In place of the stack's consumers, as long as the block lasts, others with `settings` over theirs."""
    await world.stack.stop("consumer")
    async with AsyncExitStack() as exits:
        for _ in range(count):
            await exits.enter_async_context(
                running("rotary_consumer", {**world.variables, **settings}, world.session)
            )  # fmt: skip
        yield
    await world.stack.start("consumer")
