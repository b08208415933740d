"""The parked queue holds messages that can't be folded, each with its reason. Operators replay or drop them.

A parked message has the body that a dialer published, and only headers that Rotary wrote.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from hashlib import blake2b

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from msgspec import Struct

from rotary.events import EXCHANGE
from rotary.rabbitmq.messages import Refused
from rotary.rabbitmq.topology import PARKED

REASON = "x-rotary-reason"
ROUTING_KEY = "x-rotary-routing-key"
PARKED_MS = "x-rotary-parked-ms"
LOG = "x-rotary-log"
OFFSET = "x-rotary-offset"
CONFIRM_SECONDS = 10
_MAX_SHORT = 200


class ParkedMessage(Struct, frozen=True):
    """One parked message. `id` is a hash of its routing key and body, so copies of a message have the same id. `log`
    and `offset` are its place in a log."""

    id: str
    parked_at: datetime | None
    routing_key: str
    reason: str
    content_type: str
    bytes: int
    log: str
    offset: int | None


async def park(channel: AbstractChannel, refused: Refused, log: str, offset: int, now_ms: int) -> None:
    """Publishes a refused message to the parked queue. Returns once the broker has confirmed it."""
    message = aio_pika.Message(
        refused.body,
        content_type=_short(refused.content_type),
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        headers={
            REASON: refused.reason,
            ROUTING_KEY: refused.routing_key,
            PARKED_MS: now_ms,
            LOG: log,
            OFFSET: offset,
        },
    )
    await channel.default_exchange.publish(message, PARKED, mandatory=True, timeout=CONFIRM_SECONDS)


def _short(text: str) -> str:
    """The text, cut to fit into a property. The limit is in bytes."""
    return text.encode(errors="replace")[:_MAX_SHORT].decode(errors="ignore")


def describe(message: AbstractIncomingMessage) -> ParkedMessage:
    """The description of a message on the parked queue."""
    key, headers = _routing_key(message), message.headers
    parked_ms, offset = headers.get(PARKED_MS), headers.get(OFFSET)
    return ParkedMessage(
        blake2b(key.encode() + b"\0" + message.body, digest_size=6).hexdigest(),
        datetime.fromtimestamp(parked_ms / 1000, UTC) if isinstance(parked_ms, int) else None,
        key,
        str(headers.get(REASON, "")),
        message.content_type or "",
        len(message.body),
        str(headers.get(LOG, "")),
        offset if isinstance(offset, int) else None,
    )


def _routing_key(message: AbstractIncomingMessage) -> str:
    return str(message.headers.get(ROUTING_KEY, ""))


async def browse(channel: AbstractChannel) -> AsyncIterator[AbstractIncomingMessage]:
    """Yields the messages on the parked queue, oldest first, without those parked meanwhile. Messages that are not
    acknowledged return to the queue when the channel closes."""
    queue = await channel.declare_queue(PARKED, passive=True)
    for _ in range(queue.declaration_result.message_count or 0):
        message = await queue.get(fail=False)
        if message is None:
            return
        yield message


async def replay(channel: AbstractChannel, messages: Sequence[AbstractIncomingMessage]) -> None:
    """Publishes parked messages again, with the same bodies, and removes them from the parked queue.

    The identities stay the same, so nothing counts twice. A message that still can't be folded is parked again. The
    channel must have confirms.
    """
    exchange = await channel.get_exchange(EXCHANGE)
    for message in messages:
        again = aio_pika.Message(
            message.body, content_type=message.content_type, delivery_mode=aio_pika.DeliveryMode.PERSISTENT
        )
        await exchange.publish(again, _routing_key(message), mandatory=True, timeout=CONFIRM_SECONDS)
        await message.ack()
