"""What a competent engineer writes in a day: a FastStream subscriber that does one HINCRBY an event.

It does less than Rotary: an event that arrives twice counts twice, and nothing can be replayed.
"""

import argparse
import asyncio
import logging
from datetime import datetime

import uvloop
from faststream import FastStream
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue
from pydantic import BaseModel
from redis.asyncio import BlockingConnectionPool, Redis

COUNTS = "calls_today"
QUEUE = "calls"
PREFETCH = 1_000
CONNECTIONS = 100


class CallData(BaseModel):
    """What was called with."""

    caller_id_id: int
    group_id: int | None = None
    lead_id: str | None = None


class Call(BaseModel):
    """The CloudEvent."""

    id: str
    source: str
    type: str
    time: datetime
    data: CallData


def application(rabbitmq_url: str, redis_url: str) -> FastStream:
    """The whole service."""
    broker = RabbitBroker(rabbitmq_url, default_channel=Channel(prefetch_count=PREFETCH), logger=None)
    redis = Redis(connection_pool=BlockingConnectionPool.from_url(redis_url, max_connections=CONNECTIONS))

    # FastStream decodes application/json by itself, CloudEvents' content type not: hence the bytes.
    @broker.subscriber(RabbitQueue(QUEUE, declare=False))
    async def count(body: bytes) -> None:
        call = Call.model_validate_json(body)
        await redis.hincrby(COUNTS, str(call.data.caller_id_id), 1)

    return FastStream(broker, logger=None)


def main() -> None:
    """Consumes until it is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--redis", required=True)
    given = parser.parse_args()
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(application(given.url, given.redis).run(log_level=logging.WARNING))


if __name__ == "__main__":
    main()
