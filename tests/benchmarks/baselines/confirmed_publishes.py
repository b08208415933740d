"""What the SDK is compared with: publishes of one ready-made event each, confirmed, through the layer below aio-pika.

No event is made, encoded or checked here, nothing is tried again, and nobody is told of what was lost.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter

import aiormq
from aiormq.abc import AbstractChannel
from pamqp.commands import Basic

from rotary.events import EVENT_CONTENT_TYPE, EXCHANGE, encode_event
from rotary.publisher import EventFactory

OUTSTANDING = 2_000


@asynccontextmanager
async def confirmed_channel(url: str) -> AsyncIterator[AbstractChannel]:
    """A channel with confirms on a connection of its own."""
    connection = await aiormq.connect(url)
    try:
        yield await connection.channel(publisher_confirms=True, on_return_raises=True)
    finally:
        await connection.close()


def ready_made() -> bytes:
    """One event's body."""
    return encode_event(EventFactory("/dialers/hcm-1").call_placed(18, group_id=3, lead_id="L-991"))


async def publish(channel: AbstractChannel, customer: int, body: bytes) -> None:
    """Returns when it is confirmed."""
    await channel.basic_publish(
        body,
        exchange=EXCHANGE,
        routing_key=f"call-placed.{customer}",
        properties=Basic.Properties(content_type=EVENT_CONTENT_TYPE, delivery_mode=2),
        mandatory=True,
    )


async def rate(url: str, customer: int, seconds: float) -> float:
    """Confirmed publishes a second, 2,000 of them outstanding."""
    body, confirmed = ready_made(), 0
    async with confirmed_channel(url) as channel:
        began = perf_counter()

        async def worker() -> None:
            nonlocal confirmed
            while perf_counter() - began < seconds:
                await publish(channel, customer, body)
                confirmed += 1

        await asyncio.gather(*(worker() for _ in range(OUTSTANDING)))
        return confirmed / (perf_counter() - began)
