"""What every long-running program does at its start and its end."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine

import uvloop

from rotary.errors import ConfigurationError
from rotary.process import logs
from rotary.process.settings import S, load


def run_program(kind: type[S], serve: Callable[[S], Coroutine[None, None, None]]) -> None:
    """Reads the settings and runs `serve` on uvloop. A ConfigurationError is one line and exit status 2."""
    logs.configure()
    try:
        uvloop.run(serve(load(kind, os.environ)))
    except* ConfigurationError as errors:
        print(errors.exceptions[0], file=sys.stderr)  # noqa: T201  # the one line that an operator needs
        raise SystemExit(2) from None


def on_stop_signal(stop: Callable[[], None]) -> None:
    """Calls `stop` on SIGTERM and on Ctrl-C."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
