"""The processes below a server: all are found, and none is waited for once it has exited."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from rotary_stack.process_tree import descendants, wait_until_gone

# Starts a process that starts another, reports both, and waits for its standard input to end.
TREE = """
import subprocess, sys
child = subprocess.Popen(
    [sys.executable, "-c", "import subprocess; print(subprocess.Popen(['sleep', '60']).pid, flush=True); input()"],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE,
)
print(child.pid, child.stdout.readline().decode().strip(), flush=True)
input()
"""
ZOMBIE = "import os, time\npid = os.fork()\nif pid == 0: os._exit(0)\nprint(pid, flush=True)\ninput()"


@pytest.fixture
def tree() -> Iterator[tuple["subprocess.Popen[str]", list[int]]]:
    with subprocess.Popen(
        [sys.executable, "-c", TREE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as root:
        assert root.stdout is not None
        pids = [int(pid) for pid in root.stdout.readline().split()]
        yield root, pids
        root.kill()


def test_every_generation_is_found_and_killed_if_it_stays(tree: tuple["subprocess.Popen[str]", list[int]]) -> None:
    root, pids = tree
    found = descendants(root.pid)
    assert sorted(process.pid for process in found) == sorted(pids)
    root.kill()
    asyncio.run(wait_until_gone(found))
    until(lambda: not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in found))


def test_a_process_that_has_exited_has_no_descendants() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert descendants(process.pid) == []


def test_a_zombie_is_not_waited_for() -> None:
    """In a container without an init nothing reaps the orphans of a server."""
    command = [sys.executable, "-c", ZOMBIE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        zombie = int(parent.stdout.readline())
        found = descendants(parent.pid)
        assert [process.pid for process in found] == [zombie]
        until(lambda: found[0].status() == psutil.STATUS_ZOMBIE)
        # wait_until_gone gives up after two seconds: to return sooner it must tell a zombie from a living process.
        asyncio.run(asyncio.wait_for(wait_until_gone(found), 1))
        parent.kill()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
