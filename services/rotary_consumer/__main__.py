"""`rotary-consumer`: composes the fold loop, the recovery and the projector, and stops them in order."""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from secrets import token_hex

from prometheus_client import REGISTRY

from rotary.clock import system_clock
from rotary.process.ops import ops_site
from rotary.process.program import end, on_stop_signal, run_program
from rotary.rabbitmq.topology import FOLD
from rotary.redis.connection import connect
from rotary.redis.documents import DocumentWriter
from rotary.redis.fold import Folder
from rotary.redis.state import StateStore
from rotary_consumer.folding import FoldLoop
from rotary_consumer.projector import Projector
from rotary_consumer.recovery import Recovery
from rotary_consumer.settings import Settings
from rotary_consumer.sorting import Sorter
from rotary_consumer.watermark import Watermark

DRAIN_SECONDS = 8


async def serve(settings: Settings) -> None:
    """Runs until SIGTERM; then folds and acknowledges what was delivered, and ends within 10 seconds."""
    name = f"{socket.gethostname()}-{token_hex(4)}"
    clock = system_clock(settings.clock_offset)
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(aclosing(connect(settings.redis_url)))
        folder, replaying = Folder(redis, name), Folder(redis, f"{name}-replay")
        sorter = Sorter(FOLD)
        watermark = Watermark(sorter, clock)
        recovery = Recovery(name, StateStore(redis), folder, replaying, settings.rabbitmq_url, watermark, clock)
        folding = FoldLoop(settings, folder, recovery, sorter, watermark, clock)
        projector = Projector(settings.postgres_url, DocumentWriter(redis))

        async def missing() -> Sequence[str]:
            return [*([] if folding.connected else ["RabbitMQ: not consuming"]), *recovery.missing()]

        await stack.enter_async_context(ops_site(settings.ops_bind, missing, REGISTRY))
        on_stop_signal(folding.stop)
        await _until_stopped(folding, recovery, projector)


async def _until_stopped(folding: FoldLoop, recovery: Recovery, projector: Projector) -> None:
    stopping = asyncio.create_task(folding.stopping())
    drain = asyncio.create_task(folding.run())
    tasks = (stopping, drain, asyncio.create_task(recovery.run()), asyncio.create_task(projector.run()))
    try:
        # Whichever ends before it was told to has failed.
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if stopping.done():
            # What is not folded in time was not acknowledged: the broker delivers it to the next consumer.
            await asyncio.wait([drain], timeout=DRAIN_SECONDS)
    finally:
        await end(*tasks)
    if errors := [error for task in tasks if not task.cancelled() and (error := task.exception())]:
        raise BaseExceptionGroup("the consumer failed", errors)


def main() -> None:
    """The program."""
    run_program("rotary-consumer", Settings, serve)


if __name__ == "__main__":
    main()
