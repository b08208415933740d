"""The consumer as a process."""

import asyncio

from rotary.runtime.program import on_stop_signal, run_program
from rotary_consumer.service import consuming
from rotary_consumer.settings import Settings


async def serve(settings: Settings) -> None:
    """Consumes until SIGTERM. Raises TaskEndedError, ConfigurationError."""
    stop = asyncio.Event()
    on_stop_signal(stop.set)
    async with consuming(settings) as supervisor:
        await supervisor.until(stop)


def main() -> None:
    """The program."""
    run_program(
        "rotary-consumer",
        "Folds events into Redis, rebuilds after data loss, and projects definitions.",
        Settings,
        serve,
    )
