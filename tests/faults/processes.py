"""Services of a test's own beside the stack's: with other settings, by way of a proxy."""

import asyncio
import os
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import aiohttp

from faults.world import World, until
from rotary_stack.binaries import find_or_install
from rotary_stack.spawn import with_parent_death_signal


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Service(NamedTuple):
    """A module of ours to run, and its ROTARY_* settings."""

    module: str
    settings: Mapping[str, str]
    """Any other variable of the environment may be among them."""


class Running(NamedTuple):
    """One that runs, and where its metrics are."""

    process: Process
    ops_url: str


@asynccontextmanager
async def running(session: aiohttp.ClientSession, *services: Service) -> AsyncIterator[list[Running]]:
    """Runs them from the moment all are ready; SIGTERM afterwards, and they must end."""
    ports = [free_port() for _ in services]
    started = [(one, await start(one, port), port) for one, port in zip(services, ports, strict=True)]
    try:
        for service, process, port in started:
            await until(partial(_is_ready, session, port, process), f"{service.module} is ready")
        yield [Running(process, f"http://127.0.0.1:{port}") for _, process, port in started]
    finally:
        await asyncio.gather(*(_end(process) for _, process, _ in started))


async def start(service: Service, ops_port: int) -> Process:
    return await asyncio.create_subprocess_exec(
        *with_parent_death_signal((sys.executable, "-P", "-m", service.module)),
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


async def with_skewed_clock(seconds: int) -> dict[str, str]:
    """The environment of a program whose wall clock is wrong by so many seconds; installs Debian's faketime for it."""
    if not seconds:
        return {}
    await find_or_install("faketime", "faketime", print)
    return {"LD_PRELOAD": str(_faketime()), "FAKETIME": f"{seconds:+d}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def _faketime() -> Path:
    return next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


@asynccontextmanager
async def other_consumers(world: World, *settings: Mapping[str, str]) -> AsyncIterator[list[Running]]:
    """In place of the stack's consumers, while the block lasts, one for each of `settings`, which are over theirs."""
    await world.stack.stop("consumer")
    consumers = [Service("rotary_consumer", {**world.stack.service_variables(), **one}) for one in settings]
    async with running(world.session, *consumers) as started:
        world.others |= {f"consumer of this fault {number}": one.ops_url for number, one in enumerate(started)}
        try:
            yield started
        finally:
            for number in range(len(started)):
                world.others.pop(f"consumer of this fault {number}", None)
    await world.stack.start("consumer")


@asynccontextmanager
async def other_query(world: World, settings: Mapping[str, str]) -> AsyncIterator[None]:
    """In place of the stack's query service, as long as the block lasts, another one with `settings` over its own."""
    bind = f"127.0.0.1:{free_port()}"
    before = world.api.url, world.query_ops_url
    service = Service("rotary_query", {**world.stack.service_variables(), "ROTARY_QUERY_BIND": bind, **settings})
    async with running(world.session, service) as [started]:
        world.api.url, world.query_ops_url = f"http://{bind}", started.ops_url
        world.others["query of this fault"] = started.ops_url
        await world.stack.stop("query")
        try:
            yield
        finally:
            await world.stack.start("query")
            world.api.url, world.query_ops_url = before
            del world.others["query of this fault"]
