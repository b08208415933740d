"""Rotary's programs as processes, for tests: started on free ports, awaited until ready, always ended."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp

from rotary_stack.ports import Ports

READY_SECONDS = 30
_PORTS = Ports()


def free_port() -> int:
    """A loopback port that nobody listens on, and that nobody else is given while these tests run."""
    return _PORTS.reserve()


@asynccontextmanager
async def program(module: str, **settings: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Runs `python -m MODULE` with ROTARY_<SETTING>s; yields the process and its ops URL once /readyz answers 200."""
    ops = f"127.0.0.1:{free_port()}"
    environ = os.environ | {f"ROTARY_{name.upper()}": value for name, value in settings.items()}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", module, env=environ | {"ROTARY_OPS_BIND": ops})

    async def ready() -> bool:
        assert process.returncode is None, f"{module} ended with {process.returncode}"
        return await _ready(f"http://{ops}/readyz")

    try:
        await until(ready, READY_SECONDS, f"{module} is ready")
        yield process, f"http://{ops}"
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 15)


async def _ready(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def until(condition: Callable[[], Awaitable[bool]], seconds: float, what: str) -> None:
    """Returns once the condition holds; an AssertionError that names it after so many seconds."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.05)
