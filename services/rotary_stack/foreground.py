"""The COMMAND of `rotary-stack exec`: in the foreground, with our terminal and standard input."""

import asyncio
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from signal import SIGINT, Signals

from rotary_stack.signals import Interrupts
from rotary_stack.spawn import leashed, search_path

_GRACE_SECONDS = 10.0


def found(program: str) -> bool:
    return shutil.which(program, path=search_path()) is not None


async def run_command(argv: tuple[str, ...], environ: Mapping[str, str], interrupts: Interrupts) -> int:
    """Runs it to its end. Returns its status, 128 + n when signal n ended it.

    Signals sent to us are passed on; ten seconds after one other than SIGINT it is killed.
    """
    process = await asyncio.create_subprocess_exec(*leashed(argv), env=dict(environ))

    def pass_on(signal: Signals) -> None:
        if signal == SIGINT and _terminal_told_it():
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal)
        if signal != SIGINT:
            asyncio.get_running_loop().call_later(_GRACE_SECONDS, _kill, process)

    with interrupts.sent_to(pass_on):
        status = await process.wait()
    return 128 - status if status < 0 else status


def _terminal_told_it() -> bool:
    """Whether Ctrl-C came from a terminal we share with the command: it then has had the signal, and decides itself."""
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
