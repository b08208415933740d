"""The child processes of a server, which can outlive it for a moment: PostgreSQL's backends, Erlang's port programs."""

import asyncio
import time
from contextlib import suppress

import psutil

_WAIT_SECONDS = 2.0


def descendants(pid: int) -> list[psutil.Process]:
    """Every process below `pid`. Each entry knows its start time, so a reused pid is never mistaken for it."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


async def wait_until_gone(processes: list[psutil.Process]) -> None:
    """Returns when all of them have exited. Kills those that are left after two seconds."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while (alive := [process for process in processes if _alive(process)]) and time.monotonic() < deadline:  # noqa: ASYNC110 - no event tells of another process's children
        await asyncio.sleep(0.01)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _alive(process: psutil.Process) -> bool:
    """A zombie counts as gone: it has exited, and in a container without an init nothing reaps it."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    return False
