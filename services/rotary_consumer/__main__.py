"""`rotary-consumer`: composes the fold loop, the recovery and the projector, and stops them in order."""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from secrets import token_hex

from prometheus_client import REGISTRY

from rotary.clock import system_clock
from rotary.process.ops import ops_site
from rotary.process.program import on_stop_signal, run_program
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
    async with asyncio.TaskGroup() as tasks:
        beside = [tasks.create_task(recovery.run()), tasks.create_task(projector.run())]
        drain = tasks.create_task(folding.run())
        await folding.stopping()
        # What is not folded in time was not acknowledged: the broker delivers it to the next consumer.
        await asyncio.wait([drain], timeout=DRAIN_SECONDS)
        for task in (drain, *beside):
            task.cancel()


def main() -> None:
    """The program."""
    run_program("rotary-consumer", Settings, serve)


if __name__ == "__main__":
    main()
