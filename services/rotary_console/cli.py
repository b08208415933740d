"""The console as a process."""

import asyncio

import structlog

from rotary.clock import system_clock
from rotary.http.open_files import raise_limit
from rotary.runtime.program import on_stop_signal, run_program
from rotary_console.service import serving
from rotary_console.settings import ConsoleSettings, is_loopback

_log = structlog.get_logger("rotary_console")


async def serve(settings: ConsoleSettings) -> None:
    """Serves until SIGTERM; then lets the requests under way finish. Raises TaskEndedError."""
    raise_limit()
    stop = asyncio.Event()
    on_stop_signal(stop.set)
    async with serving(settings, system_clock(settings.clock_offset)) as service:
        if not settings.is_secure and not is_loopback(settings.origin):
            _log.warning("passwords and cookies travel in the clear", console_url=settings.origin)
        _log.info("serving", host=service.host, port=service.port, ops_port=service.ops[1])
        await service.supervisor.until(stop)
        _log.info("stopping")


def main() -> None:
    """The program."""
    run_program("rotary-console", "The console: pages, signing in, and management by role.", ConsoleSettings, serve)
