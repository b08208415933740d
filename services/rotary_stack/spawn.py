"""Starting processes that cannot outlive the stack."""

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
from rotary_stack.private import UMASK, open_log
from rotary_stack.process_tree import descendants, gone

T = TypeVar("T")

_OTHERS_SETTINGS = ("RABBITMQ_", "ERL_", "PG", "NOTIFY_SOCKET", "ROTARY_")


class Launch(Struct, frozen=True, kw_only=True):
    """One process to be: what to run, with which environment, where, and as whom.

    `leash` is the signal the kernel sends it when the stack itself dies, even by SIGKILL.
    """

    argv: tuple[str, ...]
    environ: dict[str, str]
    directory: Path | None = None
    user: str | None = None
    leash: Signals = SIGKILL


def leashed(argv: tuple[str, ...], leash: Signals = SIGKILL) -> tuple[str, ...]:
    """The same command, to be ended by the kernel when the thread that started it (our main one) ends."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise StackError("the program setpriv is missing: install util-linux 2.33 or later")
    return (setpriv, "--pdeathsig", leash.name.removeprefix("SIG"), "--", *argv)


async def spawn(launch: Launch, log: Path) -> asyncio.subprocess.Process:
    """Starts it in a session of its own, so that Ctrl-C in a terminal reaches us and not it. Output goes to `log`."""
    with os.fdopen(open_log(log), "ab") as output:
        return await asyncio.create_subprocess_exec(
            *leashed(launch.argv, launch.leash),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=launch.environ,
            cwd=launch.directory,
            start_new_session=True,
            user=launch.user,
            group=launch.user,
            extra_groups=[] if launch.user else None,
            umask=UMASK,
        )


def size(log: Path) -> int:
    """Where the next process's part of `log` will begin."""
    return log.stat().st_size if log.exists() else 0


async def run_to_end(name: str, launch: Launch, log: Path) -> None:
    """Runs a command that is over by itself, such as initdb. Raises StartFailedError unless it ends with 0."""
    offset = size(log)
    process = await spawn(launch, log)
    try:
        status = await process.wait()
    finally:
        if process.returncode is None:  # we are cancelled
            family = descendants(process.pid)
            process.kill()
            await process.wait()
            await gone(family)
    if status != 0:
        raise StartFailedError(f"{name} failed with status {status}", log, offset)


def server_environ() -> dict[str, str]:
    """Our environment without what could turn a private server into somebody else's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OTHERS_SETTINGS)}
    return {**kept, "LC_ALL": "C.UTF-8"}


def search_path() -> str:
    """PATH with the folder of our own programs first: `rotary-stack` and `pytest` are found without a path."""
    return os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))


async def uninterrupted(work: Coroutine[None, None, T], hurry: asyncio.Event | None = None) -> T:
    """Awaits `work` to its end even when we are cancelled meanwhile: that sets `hurry`, and is raised last."""
    task = asyncio.create_task(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
            if hurry is not None:
                hurry.set()
        except Exception:  # noqa: BLE001, S110 - raised below by result()
            pass
    if cancelled and task.exception() is None:
        raise asyncio.CancelledError
    return task.result()
