"""Messages ready to be published: calls of many customers' caller IDs, each event an identity of its own."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from random import Random

import aiormq
from msgspec import Struct
from pamqp.commands import Basic

from rotary.events import (
    BATCH_CONTENT_TYPE,
    EVENT_CONTENT_TYPE,
    EXCHANGE,
    CallPlaced,
    encode_batch,
    encode_event,
    routing_key,
)
from rotary.publisher import EventFactory

CUSTOMERS = 16
"""So many that each log has some of them. With four, a rate was half as high where they shared one log as where each
had one for itself: 10,000 calls at once are then of four times as many caller IDs."""
CALLS_A_CALLER = 200
OUTSTANDING = 2_000


class Message(Struct, frozen=True):
    """One message, to be published as it is."""

    key: str
    body: bytes
    content_type: str


class Calls(Struct, frozen=True):
    """So many events in these messages, about these caller IDs of each of these customers."""

    events: int
    messages: Sequence[Message]
    customers: Sequence[int]
    callers: Sequence[int]


def calls(first_customer: int, messages: int, batch: int = 1) -> Calls:
    """Messages of `batch` calls each, in turn of all customers; on average 200 calls a caller ID."""
    customers = range(first_customer, first_customer + CUSTOMERS)
    count = messages * batch
    callers = range(1, max(2, count // CUSTOMERS // CALLS_A_CALLER) + 1)
    source, random = EventFactory("/dialers/hcm-1"), Random(count)
    placed = (
        source.call_placed(random.choice(callers), group_id=3, lead_id=f"L-{number}")
        for number in range(messages * batch)
    )
    made = [
        _message(list(islice(placed, batch)), customer)
        for customer, _ in zip(cycle(customers), range(messages), strict=False)
    ]
    return Calls(count, made, customers, callers)


def _message(events: list[CallPlaced], customer: int) -> Message:
    key = routing_key(events[0], customer)
    if len(events) == 1:
        return Message(key, encode_event(events[0]), EVENT_CONTENT_TYPE)
    return Message(key, encode_batch(events), BATCH_CONTENT_TYPE)


async def publish(url: str, messages: Sequence[Message]) -> None:
    """Publishes all of them and returns when all are confirmed."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel(publisher_confirms=True)
        for some in _slices(messages):
            await asyncio.gather(*(_publish(channel, message) for message in some))
    finally:
        await connection.close()


async def _publish(channel: aiormq.abc.AbstractChannel, message: Message) -> None:
    properties = Basic.Properties(content_type=message.content_type, delivery_mode=2)
    await channel.basic_publish(message.body, exchange=EXCHANGE, routing_key=message.key, properties=properties)


def _slices(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    for at in range(0, len(messages), OUTSTANDING):
        yield messages[at : at + OUTSTANDING]
