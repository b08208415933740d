"""Processes of a benchmark's own: ours and those they are compared with, each on the cores it is given."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from tempfile import TemporaryFile
from typing import IO

import aiohttp

from benchmarks.cores import on
from rotary_stack.spawn import with_parent_death_signal

READY_SECONDS = 60.0
END_SECONDS = 15.0


def free_port() -> int:
    """A loopback port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def until(holds: Callable[[], Awaitable[bool]], what: str, seconds: float = READY_SECONDS) -> None:
    """Waits for a condition. Raises TimeoutError after so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            while not await holds():  # noqa: ASYNC110  # another process is what changes
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise TimeoutError(f"not within {seconds:.0f} s: {what}") from None


@asynccontextmanager
async def process(
    where: frozenset[int], *argv: str, environ: Mapping[str, str] | None = None, stdout: int | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs a command until the block ends, then SIGTERM. What it logged is told if it ended by itself with an error."""
    with TemporaryFile() as log:
        started = await asyncio.create_subprocess_exec(
            *with_parent_death_signal(on(where, *argv)),
            env=os.environ | dict(environ or {}),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout or log,
            stderr=log,
        )
        try:
            yield started
        except BaseException as error:
            if started.returncode is not None:
                error.add_note(f"{' '.join(argv)} ended with status {started.returncode}:\n{_tail(log)}")
            raise
        finally:
            await _end(started)


async def _end(started: asyncio.subprocess.Process) -> None:
    if started.returncode is None:
        started.terminate()
    try:
        await asyncio.wait_for(started.wait(), END_SECONDS)
    except TimeoutError:
        started.kill()
        await started.wait()


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode(errors="replace")[-2000:]


def module(name: str, *arguments: str) -> tuple[str, ...]:
    """`python -m NAME`."""
    return (sys.executable, "-m", name, *arguments)


@asynccontextmanager
async def service(
    where: frozenset[int], name: str, environ: Mapping[str, str]
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """One of our services, from the moment /readyz answers 200; with its ops URL."""
    ops = f"127.0.0.1:{free_port()}"
    async with process(where, *module(name), environ={**environ, "ROTARY_OPS_BIND": ops}) as started:
        await until(lambda: _answers(started, f"http://{ops}/readyz"), f"{name} is ready")
        yield started, f"http://{ops}"


@asynccontextmanager
async def web_server(where: frozenset[int], *argv: str) -> AsyncIterator[str]:
    """A server that takes `--port`, from the moment it answers anything; with its URL."""
    port = free_port()
    async with process(where, *argv, "--port", str(port)) as started:
        await until(lambda: _answers(started, f"http://127.0.0.1:{port}/", 599), f"{argv} answers")
        yield f"http://127.0.0.1:{port}"


async def _answers(started: asyncio.subprocess.Process, url: str, most: int = 200) -> bool:
    if started.returncode is not None:
        raise RuntimeError("it ended before it was ready")
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status <= most
    except aiohttp.ClientError:
        return False


async def metric(ops: str, name: str) -> float:
    """A counter or gauge of a service, without labels."""
    async with aiohttp.ClientSession() as session, session.get(f"{ops}/metrics") as response:
        lines = (await response.text()).splitlines()
    return next(float(line.split()[1]) for line in lines if line.split(" ")[0] == name)
