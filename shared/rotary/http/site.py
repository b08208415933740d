"""Listening: a server on its address."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from rotary.errors import ConfigurationError
from rotary.runtime.settings import bind_address

SHUTDOWN_SECONDS = 5.0
BACKLOG = 1024


@asynccontextmanager
async def listening(variable: str, bind: str, server: web.Server) -> AsyncIterator[tuple[str, int]]:
    """Serves on `host:port`, the value of `variable`, while the context is open; then lets requests under way finish.

    Yields the bound address; port 0 picks a free one. Raises ConfigurationError when it can't listen there.
    """
    runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, *bind_address(bind), backlog=BACKLOG).start()
        except OSError as error:
            raise ConfigurationError(f"{variable}: {error.strerror}") from error
        host, port = runner.addresses[0][:2]
        yield host, port
    finally:
        await runner.cleanup()
