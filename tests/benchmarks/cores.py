"""Cores: what is measured has the first one to itself; everything else shares the others."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct

from rotary_stack.control.client import send
from rotary_stack.control.messages import Request
from rotary_stack.process_tree import descendants


class Cores(Struct, frozen=True):
    """Sets of core numbers. With a single core all three are the same, and no ratio means much."""

    measured: frozenset[int]
    rest: frozenset[int]
    all: frozenset[int]


def cores() -> Cores:
    """The cores that this process may use."""
    allowed = frozenset(os.sched_getaffinity(0))
    first = frozenset({min(allowed)})
    return Cores(first, allowed - first or first, allowed)


def on(where: frozenset[int], *argv: str) -> tuple[str, ...]:
    """The same command, run on these cores alone."""
    return ("taskset", "-c", ",".join(map(str, sorted(where))), *argv)


def move_servers(environ: Mapping[str, str], where: frozenset[int]) -> None:
    """Moves the servers of the stack around us, with all their threads, and ourselves."""
    status = send(Request("status"), environ)
    roots = [program.pid for program in status.programs.values() if program.pid is not None]
    move([os.getpid(), *roots], where)


def move(roots: Iterable[int], where: frozenset[int]) -> None:
    """Moves these processes and their descendants."""
    for root in roots:
        for pid in (root, *(child.pid for child in descendants(root))):
            for thread in _threads(pid):
                os.sched_setaffinity(thread, where)


def _threads(pid: int) -> list[int]:
    try:
        return [int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()]
    except FileNotFoundError:  # it ended meanwhile
        return []
