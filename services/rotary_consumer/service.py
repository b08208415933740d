"""The consumer, composed: the log readers, the projector, history and the operator's endpoints."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from secrets import token_hex

from prometheus_client import REGISTRY

from rotary.clock import system_clock
from rotary.rabbitmq.markers import user_of
from rotary.redis.connection import connect
from rotary.redis.definition_writer import DefinitionWriter
from rotary.redis.past import PastReader
from rotary.redis.pipeline import Pipeline
from rotary.runtime.ops import ops_site
from rotary.runtime.supervision import Supervisor
from rotary_consumer.broker_channels import BrokerChannels
from rotary_consumer.generations import Generations
from rotary_consumer.history.late import LateCustomers
from rotary_consumer.history.rollup import HistoryRollup
from rotary_consumer.leases import Leases
from rotary_consumer.log_reader import LogReader
from rotary_consumer.logs import Logs
from rotary_consumer.marking import Losses, Tools
from rotary_consumer.projector import Projector
from rotary_consumer.readiness import Readiness
from rotary_consumer.settings import Settings

MAX_FOLDS = 4
"""So many folds are on their way to Redis at a time, of all logs: a connection that is silent for five seconds is given
up, and all that was sent on it is folded again."""


@asynccontextmanager
async def consuming(settings: Settings) -> AsyncIterator[Supervisor]:
    """Consumes while the context is open.

    Leaving it just stops: the next reader of a log reads again whatever was not committed.
    """
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(aclosing(connect(settings.redis_url)))
        pipeline = Pipeline(redis)
        stack.push_async_callback(pipeline.close)
        channels = BrokerChannels(settings.rabbitmq_url)
        logs = Logs(settings.postgres_url, settings.rabbitmq_url, pipeline, channels)
        generations = Generations(redis, pipeline)
        late = LateCustomers(redis)
        clock, offset_ms = system_clock(settings.clock_offset), int(settings.clock_offset * 1000)
        tools = Tools(
            client=redis,
            pipeline=pipeline,
            url=settings.rabbitmq_url,
            user=user_of(settings.rabbitmq_url),
            channels=channels,
            logs=logs,
            late=late,
            losses=Losses(),
            clock=clock,
            clock_offset_ms=offset_ms,
            prefetch=settings.prefetch,
            fold_slots=asyncio.Semaphore(MAX_FOLDS),
        )
        name = f"{socket.gethostname()}-{token_hex(4)}"
        leases = Leases(name, redis, logs, generations, channels, lambda log, number: LogReader(log, number, tools))
        projector = Projector(settings.postgres_url, DefinitionWriter(redis))
        rollup = HistoryRollup(settings.postgres_url, PastReader(redis, offset_ms), late, clock)
        readiness = Readiness(channels, leases, logs, pipeline)
        await stack.enter_async_context(ops_site(settings.ops_bind, readiness.not_ready_reasons, REGISTRY))
        supervisor = Supervisor()
        stack.push_async_callback(supervisor.close)
        supervisor.start("publishing to the broker", channels.run())
        supervisor.start("reading the record of the logs", logs.run())
        supervisor.start("completing rebuilds", generations.run())
        supervisor.start("reading the logs", leases.run())
        supervisor.start("projecting definitions", projector.run())
        supervisor.start("watching definitions", projector.watch.run())
        supervisor.start("noting late events", late.run())
        supervisor.start("rolling up history", rollup.run())
        yield supervisor
