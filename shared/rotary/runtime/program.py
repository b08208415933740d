"""What every long-running program does at its start and its end."""

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence

import uvloop
from msgspec import Struct

from rotary import __version__
from rotary.errors import ConfigurationError
from rotary.runtime import logs
from rotary.runtime.settings import S, described, load


class TaskEndedError(Exception):
    """A background task ended although nothing told it to: without it the program does not do its work."""


def run_program(
    name: str,
    about: str,
    kind: type[S],
    serve: Callable[[S], Coroutine[None, None, None]],
    arguments: Sequence[str] | None = None,
) -> None:
    """Reads the settings and runs `serve` on uvloop. A ConfigurationError is one line and exit status 2.

    `--help` and `--version` print and exit before anything is read; any other of the `arguments`, which are those of
    the command line by default, is an error with exit status 2. A TaskEndedError, which the log has explained, is exit
    status 1.
    """
    _parser(name, about, kind).parse_args(arguments)
    logs.configure()
    _calm_collector()
    try:
        uvloop.run(serve(load(kind, os.environ)))
    except* ConfigurationError as errors:
        print(f"{name}: {errors.exceptions[0]}", file=sys.stderr)  # noqa: T201  # the one line that an operator needs
        raise SystemExit(2) from None
    except* TaskEndedError:
        raise SystemExit(1) from None


def _parser(name: str, about: str, kind: type[Struct]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        name,
        description=about,
        epilog=f"Settings, from the environment:\n{described(kind)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{name}, version {__version__}")
    return parser


def _calm_collector() -> None:
    # Hardly anything of ours is in a cycle, so that looking for them finds nothing; yet the collector looks after every
    # 700 allocations, and at all that a mirror holds every 70,000. On cold reads this took a sixth off their rate, and
    # the slowest hundredth waited three times as long.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def on_stop_signal(stop: Callable[[], None]) -> None:
    """Calls `stop` on SIGTERM and on Ctrl-C."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


async def cancel_and_wait(*tasks: asyncio.Task[None]) -> None:
    """Cancels tasks and returns when all are over, however they ended.

    Once is not always enough: on Python 3.11 `asyncio.wait_for`, in which redis-py writes and we pause, swallows a
    cancellation that arrives as what it waits for is done.
    """
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=0.1)
