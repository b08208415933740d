"""A log as production has it, for tests of the publisher: one stream, alone behind the exchange of events."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from integration.inbox import events_of
from rotary.events import EXCHANGE

STREAM = "publisher.log"


@asynccontextmanager
async def open_channel(url: str) -> AsyncIterator[AbstractChannel]:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.set_qos(500)
        yield channel


async def declare_exchange(channel: AbstractChannel) -> None:
    await channel.declare_exchange(EXCHANGE, ExchangeType.TOPIC, durable=True)


async def declare_stream(channel: AbstractChannel, *, bound: bool = True) -> None:
    stream = await channel.declare_queue(STREAM, durable=True, arguments={"x-queue-type": "stream"})
    if bound:
        await stream.bind(EXCHANGE, "#")


async def unbind(channel: AbstractChannel) -> None:
    await (await channel.get_queue(STREAM)).unbind(EXCHANGE, "#")


async def stored_ids(channel: AbstractChannel, last: str) -> list[str]:
    """The ids of all events in the stream, oldest first, up to the one named."""
    messages: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()

    async def put(message: AbstractIncomingMessage) -> None:
        messages.put_nowait(message)
        await message.ack()

    stream = await channel.get_queue(STREAM)
    tag = await stream.consume(put, arguments={"x-stream-offset": "first"})
    ids: list[str] = []
    while last not in ids[-1000:]:
        ids += [str(event["id"]) for event in events_of(await asyncio.wait_for(messages.get(), 20))]
    await stream.cancel(tag)
    return ids
