"""How every long-running program starts and stops."""

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
    """A background task ended before its program: the program can't do its work without it."""


def run_program(
    name: str,
    about: str,
    kind: type[S],
    serve: Callable[[S], Coroutine[None, None, None]],
    arguments: Sequence[str] | None = None,
) -> None:
    """Reads the settings and runs `serve` on uvloop.

    `--help` and `--version` print and exit. `arguments` default to those of the command line; any other argument exits
    with status 2, as does a ConfigurationError, which prints one line. A TaskEndedError, logged already, exits with 1.
    """
    _parser(name, about, kind).parse_args(arguments)
    logs.configure()
    _calm_collector()
    try:
        uvloop.run(serve(load(kind, os.environ)))
    except* ConfigurationError as errors:
        print(f"{name}: {errors.exceptions[0]}", file=sys.stderr)  # noqa: T201  # one line for the operator
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
    # Few of our objects are in cycles, but the collector runs every 700 allocations, and scans the whole cache every
    # 70,000. That cost cold reads a sixth of their rate and tripled their 99th percentile.
    gc.set_threshold(20_000, 20, 50)


def on_stop_signal(stop: Callable[[], None]) -> None:
    """Calls `stop` on SIGTERM and on Ctrl-C."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


async def cancel_and_wait(*tasks: asyncio.Task[None]) -> None:
    """Cancels tasks and returns when all have ended, however they ended.

    It may take several cancellations: in Python 3.11 `asyncio.wait_for`, which redis-py writes with, swallows one that
    arrives as its awaitable completes.
    """
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=0.1)
