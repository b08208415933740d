"""Starts processes that cannot outlive the stack."""

import asyncio
import os
import shutil
import sys
from collections.abc import Coroutine
from pathlib import Path
from signal import SIGKILL, Signals
from typing import TypeVar

from msgspec import Struct

from rotary_stack.errors import StackError, StartFailedError
from rotary_stack.process_tree import descendants, wait_until_gone
from rotary_stack.workspace import UMASK, log_size, open_log

T = TypeVar("T")

_FOREIGN_SETTINGS = ("RABBITMQ_", "ERL_", "PG", "NOTIFY_SOCKET", "ROTARY_")


class LaunchConfig(Struct, frozen=True, kw_only=True):
    """How to start one process.

    The kernel sends it `parent_death_signal` when the stack itself dies, even by SIGKILL.
    """

    argv: tuple[str, ...]
    environ: dict[str, str]
    directory: Path | None = None
    user: str | None = None
    parent_death_signal: Signals = SIGKILL


def with_parent_death_signal(argv: tuple[str, ...], number: Signals = SIGKILL) -> tuple[str, ...]:
    """The same command, which the kernel signals when the thread that started it ends."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise StackError("setpriv is not installed: install util-linux 2.33 or later")
    return (setpriv, "--pdeathsig", number.name.removeprefix("SIG"), "--", *argv)


async def spawn(config: LaunchConfig, log: Path) -> asyncio.subprocess.Process:
    """Starts a process with its output appended to `log`.

    It has a session of its own: Ctrl-C in a terminal reaches the stack, which stops its processes in order.
    """
    with os.fdopen(open_log(log), "ab") as output:
        return await asyncio.create_subprocess_exec(
            *with_parent_death_signal(config.argv, config.parent_death_signal),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=config.environ,
            cwd=config.directory,
            start_new_session=True,
            user=config.user,
            group=config.user,
            extra_groups=[] if config.user else None,
            umask=UMASK,
        )


async def run_to_exit(name: str, config: LaunchConfig, log: Path) -> None:
    """Runs a command such as initdb until it exits. Raises StartFailedError unless its status is 0."""
    offset = log_size(log)
    process = await spawn(config, log)
    try:
        status = await process.wait()
    finally:
        if process.returncode is None:  # this task was cancelled
            children = descendants(process.pid)
            process.kill()
            await process.wait()
            await wait_until_gone(children)
    if status != 0:
        raise StartFailedError(f"{name} failed with status {status}", log, offset)


def server_environ() -> dict[str, str]:
    """Our environment without the variables that configure another server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN_SETTINGS)}
    return {**kept, "LC_ALL": "C.UTF-8"}


def search_path() -> str:
    """PATH with the folder of our own programs first, so that `rotary-stack` and `pytest` are found by name."""
    return os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))


async def finish_even_if_cancelled(work: Coroutine[None, None, T], force_stop: asyncio.Event | None = None) -> T:
    """Awaits `work` to its end. A cancellation meanwhile sets `force_stop` and is raised afterwards."""
    task = asyncio.create_task(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
            if force_stop is not None:
                force_stop.set()
        except Exception:  # noqa: BLE001, S110 - raised below by result()
            pass
    if cancelled and task.exception() is None:
        raise asyncio.CancelledError
    return task.result()
