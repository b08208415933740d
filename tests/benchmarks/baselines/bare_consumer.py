"""The ceiling: aio-pika, a callback that decodes and counts, one acknowledgement for many. It writes nothing anywhere.

Prints `<messages acknowledged> <seconds on the monotonic clock>` now and then.
"""

import argparse
import asyncio
import time

import aio_pika
import msgspec
import uvloop
from aio_pika.abc import AbstractIncomingMessage

from rotary.events import CallPlaced
from rotary.rabbitmq import topology

ACKNOWLEDGED_TOGETHER = 250


async def _consume(url: str, prefetch: int) -> None:
    decode = msgspec.json.Decoder(CallPlaced).decode
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=prefetch)
        queue = await channel.get_queue(topology.FOLD)
        count = 0

        async def take(message: AbstractIncomingMessage) -> None:
            nonlocal count
            decode(message.body)
            count += 1
            if count % ACKNOWLEDGED_TOGETHER == 0:
                await message.ack(multiple=True)
                print(count, time.monotonic(), flush=True)

        await queue.consume(take)
        print(0, time.monotonic(), flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Consumes until it is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--prefetch", type=int, required=True)
    given = parser.parse_args()
    uvloop.run(_consume(given.url, given.prefetch))


if __name__ == "__main__":
    main()
