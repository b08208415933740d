"""The durable queue of deliveries, and the queues in which those that failed wait for their next attempt.

A message is the id of a delivery, whose content is in PostgreSQL. A waiting message returns by itself: its queue hands
what has waited long enough back to the first one, at least once.
"""

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractQueue
from pamqp.common import FieldTable

from rotary_campaigns.webhooks.retries import RETRY_SECONDS

QUEUE = "rotary.webhooks"
CONFIRM_SECONDS = 5
_QUORUM: FieldTable = {"x-queue-type": "quorum"}


def waiting(seconds: int) -> str:
    """The queue in which messages wait so long."""
    return f"{QUEUE}.retry.{seconds}"


async def declare(channel: AbstractChannel) -> AbstractQueue:
    """Declares all queues; returns the first."""
    for seconds in RETRY_SECONDS:
        arguments: FieldTable = {
            **_QUORUM,
            "x-message-ttl": seconds * 1000,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": QUEUE,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }
        await channel.declare_queue(waiting(seconds), durable=True, arguments=arguments)
    return await channel.declare_queue(QUEUE, durable=True, arguments=_QUORUM)


async def publish(channel: AbstractChannel, delivery_id: str, seconds: int = 0) -> None:
    """Queues a delivery, to be attempted after so many seconds, one of RETRY_SECONDS, or now. Returns when the broker
    has it. Needs a channel with confirms."""
    message = aio_pika.Message(delivery_id.encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    key = waiting(seconds) if seconds else QUEUE
    await channel.default_exchange.publish(message, key, mandatory=True, timeout=CONFIRM_SECONDS)
