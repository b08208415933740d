"""The query service as a process: settings, servers, an orderly end."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
import uvloop
from aiohttp import web
from prometheus_client import REGISTRY

from rotary.clock import system_clock
from rotary.errors import ConfigurationError, UnavailableError
from rotary.process.logs import configure
from rotary.process.ops import ops_site
from rotary.process.settings import bind_address, load
from rotary.redis.connection import connect
from rotary.redis.reader import Reader
from rotary_query.app import Api
from rotary_query.direct import DirectSource
from rotary_query.protocol import QueryServer
from rotary_query.settings import QuerySettings

REDIS_TIMEOUT_SECONDS = 1.0
"""So that a request meets its 503 within two seconds, connecting included, when Redis hangs."""
SHUTDOWN_SECONDS = 5.0
_log = structlog.get_logger("rotary_query")


def main() -> None:
    """Runs until SIGTERM or SIGINT; exits with 2 and one line when a setting is wrong."""
    try:
        settings = load(QuerySettings, os.environ)
    except ConfigurationError as error:
        print(f"rotary-query: {error}", file=sys.stderr)  # noqa: T201  # the one line a person is to read
        raise SystemExit(2) from None
    configure()
    uvloop.run(run(settings))


async def run(settings: QuerySettings) -> None:
    """Serves until the process is told to end, then lets the requests under way finish."""
    stop = _stop_signal()
    async with AsyncExitStack() as stack:
        client = connect(settings.redis_url, REDIS_TIMEOUT_SECONDS)
        stack.push_async_callback(client.aclose)
        reader = Reader(client)
        api = Api(DirectSource(reader), system_clock(settings.clock_offset))
        host, port = await stack.enter_async_context(_site(settings.query_bind, QueryServer(api.handle)))
        await stack.enter_async_context(ops_site(settings.ops_bind, lambda: _missing(reader), REGISTRY))
        _log.info("serving", host=host, port=port, ops=settings.ops_bind)
        await stop.wait()
        _log.info("stopping")


async def _missing(reader: Reader) -> list[str]:
    try:
        await reader.ping()
    except UnavailableError as error:
        return [error.what]
    return []


@asynccontextmanager
async def _site(bind: str, server: web.Server) -> AsyncIterator[tuple[str, int]]:
    runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, *bind_address(bind), backlog=1024).start()
        host, port = runner.addresses[0][:2]
        yield host, port
    finally:
        await runner.cleanup()


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


if __name__ == "__main__":
    main()
