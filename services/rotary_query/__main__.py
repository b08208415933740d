"""The query service as a process: settings, signals, exit codes."""

import asyncio
import os
import signal
import sys

import structlog
import uvloop

from rotary.clock import system_clock
from rotary.errors import ConfigurationError
from rotary.process.logs import configure
from rotary.process.settings import load
from rotary_query.service import serving
from rotary_query.settings import QuerySettings

_log = structlog.get_logger("rotary_query")


def main() -> None:
    """Runs until SIGTERM or SIGINT; exits with 2 and one line when a setting is wrong."""
    try:
        settings = load(QuerySettings, os.environ)
        configure()
        uvloop.run(_run(settings))
    except ConfigurationError as error:
        print(f"rotary-query: {error}", file=sys.stderr)  # noqa: T201  # the one line a person is to read
        raise SystemExit(2) from None


async def _run(settings: QuerySettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serving(settings, system_clock(settings.clock_offset)) as service:
        _log.info("serving", host=service.host, port=service.port, ops_port=service.ops[1])
        await stop.wait()
        _log.info("stopping")


if __name__ == "__main__":
    main()
