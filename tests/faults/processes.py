"""Services of a test's own beside the stack's: with other settings, by way of a proxy."""

import asyncio
import os
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple

import aiohttp

from faults.world import World, until
from rotary_stack.launch import leashed


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Service(NamedTuple):
    """A module of ours to run, and its ROTARY_* settings."""

    module: str
    settings: Mapping[str, str]


@asynccontextmanager
async def running(session: aiohttp.ClientSession, *services: Service) -> AsyncIterator[None]:
    """Runs them from the moment all are ready; SIGTERM afterwards, and they must end."""
    ports = [free_port() for _ in services]
    started = [(one, await _start(one, port), port) for one, port in zip(services, ports, strict=True)]
    try:
        for service, process, port in started:
            await until(partial(_is_ready, session, port, process), f"{service.module} is ready")
        yield
    finally:
        await asyncio.gather(*(_end(process) for _, process, _ in started))


async def _start(service: Service, ops_port: int) -> Process:
    return await asyncio.create_subprocess_exec(
        *leashed((sys.executable, "-P", "-m", service.module)),
        env={**os.environ, **service.settings, "ROTARY_OPS_BIND": f"127.0.0.1:{ops_port}"},
        stdin=asyncio.subprocess.DEVNULL,
    )


async def _is_ready(session: aiohttp.ClientSession, ops_port: int, process: Process) -> bool:
    assert process.returncode is None, f"it ended with status {process.returncode}"
    try:
        async with session.get(f"http://127.0.0.1:{ops_port}/readyz") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def _end(process: Process) -> None:
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
    consumers = [Service("rotary_consumer", {**world.variables, **settings})] * count
    async with running(world.session, *consumers):
        yield
    await world.stack.start("consumer")
