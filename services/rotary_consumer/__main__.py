"""`rotary-consumer`: composes the logs' readers and the projector, and stops them in order."""

import asyncio
import socket
from collections.abc import Coroutine
from contextlib import AsyncExitStack, aclosing
from secrets import token_hex

from prometheus_client import REGISTRY

from rotary.clock import system_clock
from rotary.rabbitmq.markers import user_of
from rotary.redis.connection import connect
from rotary.redis.definition_writer import DefinitionWriter
from rotary.redis.pipeline import Pipeline
from rotary.runtime.ops import ops_site
from rotary.runtime.program import cancel_and_wait, on_stop_signal, run_program
from rotary_consumer.leases import Leases
from rotary_consumer.log_reader import LogReader, Tools
from rotary_consumer.logs import Logs
from rotary_consumer.projector import Projector
from rotary_consumer.publishing import Publishing
from rotary_consumer.readiness import Readiness
from rotary_consumer.rebuild import Generations
from rotary_consumer.settings import Settings


async def serve(settings: Settings) -> None:
    """Runs until SIGTERM. Stopping is just stopping: what was not committed is read again by whoever goes on."""
    name = f"{socket.gethostname()}-{token_hex(4)}"
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(aclosing(connect(settings.redis_url)))
        pipeline = Pipeline(redis)
        stack.push_async_callback(pipeline.close)
        publishing = Publishing(settings.rabbitmq_url)
        logs = Logs(settings.postgres_url, settings.rabbitmq_url, pipeline, publishing)
        generations = Generations(redis, pipeline)
        tools = Tools(
            client=redis,
            pipeline=pipeline,
            url=settings.rabbitmq_url,
            user=user_of(settings.rabbitmq_url),
            publishing=publishing,
            logs=logs,
            clock=system_clock(settings.clock_offset),
            clock_offset_ms=int(settings.clock_offset * 1000),
            prefetch=settings.prefetch,
        )
        leases = Leases(name, redis, logs, generations, publishing, lambda log, number: LogReader(log, number, tools))
        projector = Projector(settings.postgres_url, DefinitionWriter(redis))
        readiness = Readiness(publishing, leases, logs, pipeline)
        await stack.enter_async_context(ops_site(settings.ops_bind, readiness.missing, REGISTRY))
        parts = (publishing.run(), logs.run(), generations.run(), leases.run(), projector.run(), projector.watch.run())
        await _until_stopped(*parts)


async def _until_stopped(*programs: Coroutine[None, None, None]) -> None:
    stopping = asyncio.Event()
    on_stop_signal(stopping.set)
    stopped = asyncio.create_task(_wait(stopping))
    tasks = [asyncio.create_task(program) for program in programs]
    try:
        # None of them ends by itself: whichever does has failed.
        await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        ended = [task for task in tasks if task.done()]
        await cancel_and_wait(*tasks, stopped)
    errors = [error for task in tasks if not task.cancelled() and (error := task.exception())]
    if errors or ended:
        raise BaseExceptionGroup("the consumer failed", errors or [RuntimeError("a part of it ended by itself")])


async def _wait(stopping: asyncio.Event) -> None:
    await stopping.wait()


def main() -> None:
    """The program."""
    run_program("rotary-consumer", "Folds events into Redis and projects definitions there.", Settings, serve)


if __name__ == "__main__":
    main()
