"""Ticks: how we know when a message reached the broker, which it does not say.

A tick is a message that carries the time it was published at, put straight into a queue or a log. Both are first in,
first out: what comes after a tick arrived after that time, what comes before the next one arrived before that. No
dialer can publish a tick, for it goes through the default exchange; its routing key is the queue's own name.
"""

from secrets import token_hex

import aio_pika
from aio_pika.abc import AbstractChannel

from rotary.rabbitmq.messages import Message

PUBLISH_SECONDS = 10


async def publish_tick(channel: AbstractChannel, queue: str, now_ms: int) -> bytes:
    """Puts a tick into the queue or log; returns its body, by which it can be told from others."""
    body = f"{now_ms}:{token_hex(8)}".encode()
    message = aio_pika.Message(body, content_type="text/plain", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    await channel.default_exchange.publish(message, queue, timeout=PUBLISH_SECONDS)
    return body


def tick_ms(message: Message, queue: str) -> int | None:
    """The time a tick carries, UTC milliseconds; None for any other message of this queue."""
    return int(message.body.partition(b":")[0]) if message.routing_key == queue else None
