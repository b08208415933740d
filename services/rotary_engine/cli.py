"""The engine as a process."""

import asyncio

import structlog

from rotary.clock import system_clock
from rotary.http.open_files import raise_limit
from rotary.runtime.program import on_stop_signal, run_program
from rotary_engine.service import serving
from rotary_engine.settings import EngineSettings

_log = structlog.get_logger("rotary_engine")


async def serve(settings: EngineSettings) -> None:
    """Serves until SIGTERM; then lets the requests under way finish. Raises TaskEndedError."""
    raise_limit()
    stop = asyncio.Event()
    on_stop_signal(stop.set)
    async with serving(settings, system_clock(settings.clock_offset)) as service:
        _log.info("serving", host=service.host, port=service.port, ops_port=service.ops[1])
        await service.engine.supervisor.until(stop)
        _log.info("stopping")


def main() -> None:
    """The program."""
    run_program(
        "rotary-engine", "Picks a caller ID for a call and reserves it, from Redis alone.", EngineSettings, serve
    )
