"""The parked queue, as an operator sees it: what could not be folded, why, and a way back or out."""

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
CONFIRM_SECONDS = 10


class ParkedMessage(Struct, frozen=True):
    """One parked message. `id` is the hash of what it holds: the same thing parked twice has one id."""

    id: str
    parked_at: datetime | None
    routing_key: str
    reason: str
    content_type: str
    bytes: int


async def park(channel: AbstractChannel, refused: Refused, now_ms: int) -> None:
    """Puts what was refused on the parked queue; returns once the broker has it."""
    message = aio_pika.Message(
        refused.body,
        content_type=refused.content_type,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        headers={REASON: refused.reason, ROUTING_KEY: refused.routing_key, PARKED_MS: now_ms},
    )
    await channel.default_exchange.publish(message, PARKED, timeout=CONFIRM_SECONDS)


def describe(message: AbstractIncomingMessage) -> ParkedMessage:
    """What a consumer wrote beside it, or that the broker gave it up."""
    key = _routing_key(message)
    ours = message.headers if _is_ours(message) else {}
    parked_ms = ours.get(PARKED_MS)
    reason = ours.get(REASON, "given_up: the broker took it off the queue, undeliverable too often or expired")
    return ParkedMessage(
        blake2b(key.encode() + b"\0" + message.body, digest_size=6).hexdigest(),
        datetime.fromtimestamp(parked_ms / 1000, UTC) if isinstance(parked_ms, int) else None,
        key,
        str(reason),
        message.content_type or "",
        len(message.body),
    )


def _is_ours(message: AbstractIncomingMessage) -> bool:
    """Whether a consumer parked it: through the default exchange, where no dialer can write.

    What the broker gave up bears the dialer's own headers, x-death included, which it extends and does not clear. A
    replay that believed them would publish one customer's message as another's.
    """
    return not message.exchange


def _routing_key(message: AbstractIncomingMessage) -> str:
    return str(message.headers[ROUTING_KEY]) if _is_ours(message) else message.routing_key or ""


async def browse(channel: AbstractChannel) -> AsyncIterator[AbstractIncomingMessage]:
    """Every message parked when this began, oldest first. What is not acknowledged is back when the channel closes."""
    queue = await channel.declare_queue(PARKED, passive=True)
    for _ in range(queue.declaration_result.message_count or 0):
        message = await queue.get(fail=False)
        if message is None:
            return
        yield message


async def replay(channel: AbstractChannel, messages: Sequence[AbstractIncomingMessage]) -> None:
    """Publishes them again as they were first published, hence with the same identities, and removes them here.

    What is still not foldable comes back with its reason. Needs a channel with confirms.
    """
    exchange = await channel.get_exchange(EXCHANGE)
    for message in messages:
        again = aio_pika.Message(
            message.body, content_type=message.content_type, delivery_mode=aio_pika.DeliveryMode.PERSISTENT
        )
        await exchange.publish(again, _routing_key(message), mandatory=True, timeout=CONFIRM_SECONDS)
        await message.ack()
