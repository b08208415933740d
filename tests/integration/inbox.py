"""A queue of the test's own that receives every message published to the events exchange."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import aio_pika
from aio_pika import ExchangeType
from aio_pika.abc import AbstractIncomingMessage

from rotary.events import BATCH_CONTENT_TYPE, EVENT_CONTENT_TYPE, EXCHANGE
from rotary.publisher import Publisher

Json = dict[str, object]


class Inbox:
    def __init__(self) -> None:
        self._arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()

    async def put(self, message: AbstractIncomingMessage) -> None:
        self._arrived.put_nowait(message)

    async def message(self) -> AbstractIncomingMessage:
        """The next message, within 10 s."""
        return await asyncio.wait_for(self._arrived.get(), 10)

    async def events(self, count: int) -> list[Json]:
        """The events of the next messages, until there are `count` of them or more."""
        events: list[Json] = []
        while len(events) < count:
            events += events_of(await self.message())
        return events

    async def until(self, ids: set[str]) -> list[str]:
        """The ids of everything that arrives until all of `ids` did, however often."""
        seen: list[str] = []
        while not ids <= set(seen):
            seen += [str(event["id"]) for event in events_of(await self.message())]
        return seen

    async def open_channel_of(self, dialer: Publisher) -> None:
        """Lets the publisher open its channel, which it does for the first event, and which needs an answer."""
        await dialer.call_placed(1)
        await self.events(1)

    def is_empty(self) -> bool:
        return self._arrived.empty()


@asynccontextmanager
async def open_inbox(url: str) -> AsyncIterator[Inbox]:
    """Declares the exchange, and a queue bound to all of it that goes away with the inbox."""
    inbox = Inbox()
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange(EXCHANGE, ExchangeType.TOPIC, durable=True)
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(exchange, "#")
        await queue.consume(inbox.put, no_ack=True)
        yield inbox


def events_of(message: AbstractIncomingMessage) -> list[Json]:
    """A message's events, by its content type; a batch of none or one is a defect."""
    body = json.loads(message.body)
    if message.content_type == EVENT_CONTENT_TYPE:
        return [cast("Json", body)]
    assert message.content_type == BATCH_CONTENT_TYPE
    assert len(body) > 1
    return cast("list[Json]", body)
