"""The topology of version 0.1, against which the present one is measured: every event was written twice."""

import aio_pika

from rotary.events import EXCHANGE

WORK_QUEUE = "rotary.fold"
LOG = "rotary.log.calls"


async def declare_former(url: str) -> None:
    """A work queue and a log, both bound to the exchange that dialers publish to."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
        for name, kind, key in ((WORK_QUEUE, "quorum", "#"), (LOG, "stream", "call-placed.*")):
            queue = await channel.declare_queue(name, durable=True, arguments={"x-queue-type": kind})
            await queue.bind(exchange, key)
