"""A server's own processes, which may outlive it for a moment: PostgreSQL's backends, Erlang's port programs."""

import asyncio
import os
import time
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL

from msgspec import Struct

_PATIENCE_SECONDS = 2.0


class Kin(Struct, frozen=True):
    """One process. Its start time tells it from a later one that was given the same pid."""

    pid: int
    started: int


def descendants(root: int) -> list[Kin]:
    """Every living process below `root`, as /proc shows them now."""
    table = {pid: stat for pid in _pids() if (stat := _stat(pid)) is not None}
    found: list[Kin] = []
    parents = [root]
    while parents:
        children = [pid for pid, (parent, _) in table.items() if parent in parents]
        found += [Kin(pid, table[pid][1]) for pid in children]
        parents = children
    return found


async def gone(family: list[Kin]) -> None:
    """Returns when all of them have ended, which they do by themselves. Kills those that have not after two seconds."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (alive := [kin for kin in family if _alive(kin)]) and time.monotonic() < deadline:  # noqa: ASYNC110 - /proc wakes nobody
        await asyncio.sleep(0.01)
    for kin in alive:
        with suppress(ProcessLookupError):
            os.kill(kin.pid, SIGKILL)


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _alive(kin: Kin) -> bool:
    stat = _stat(kin.pid)
    return stat is not None and stat[1] == kin.started


def _stat(pid: int) -> tuple[int, int] | None:
    """(parent, start time), or None for a process that is no more. A zombie is no more: it only waits to be reaped."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold spaces and parentheses
    return None if fields[0] == "Z" else (int(fields[1]), int(fields[19]))
