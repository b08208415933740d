"""Runs the COMMAND of `rotary-stack exec` in the foreground, with our terminal and standard input."""

import asyncio
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from signal import SIGINT, Signals

from rotary_stack.signals import SignalHandler
from rotary_stack.spawn import search_path, with_parent_death_signal

_STOP_TIMEOUT_SECONDS = 10.0


def is_command(name: str) -> bool:
    return shutil.which(name, path=search_path()) is not None


async def run_command(argv: tuple[str, ...], environ: Mapping[str, str], signals: SignalHandler) -> int:
    """Runs a command until it exits. Returns its status, or 128 + n when signal n ended it.

    Passes our signals on to it, and kills it ten seconds after one other than SIGINT.
    """
    process = await asyncio.create_subprocess_exec(*with_parent_death_signal(argv), env=dict(environ))

    def pass_on(number: Signals) -> None:
        if number == SIGINT and _terminal_signals_command():
            return
        with suppress(ProcessLookupError):
            process.send_signal(number)
        if number != SIGINT:
            asyncio.get_running_loop().call_later(_STOP_TIMEOUT_SECONDS, _kill, process)

    with signals.forwarded_to(pass_on):
        status = await process.wait()
    return 128 - status if status < 0 else status


def _terminal_signals_command() -> bool:
    """Whether we share a terminal with the command. Its Ctrl-C then reaches the command without our help."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
