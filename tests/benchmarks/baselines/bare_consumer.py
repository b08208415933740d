"""The ceiling: aio-pika on the calls' streams, a callback that decodes and counts, one acknowledgement for many.

It writes nothing anywhere.

Prints `<messages acknowledged> <seconds on the monotonic clock>` now and then.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable

import aio_pika
import msgspec
import uvloop
from aio_pika.abc import AbstractIncomingMessage

from rotary.events import CallPlaced
from rotary.rabbitmq import topology

ACKNOWLEDGED_TOGETHER = 250


def _taking(
    decode: Callable[[bytes], CallPlaced], counts: list[int]
) -> Callable[[AbstractIncomingMessage], Awaitable[None]]:
    """A callback of one stream; `counts` has one number, of all of them."""
    taken = 0

    async def take(message: AbstractIncomingMessage) -> None:
        nonlocal taken
        decode(message.body)
        taken += 1
        counts[0] += 1
        if counts[0] % ACKNOWLEDGED_TOGETHER == 0:  # before waiting: others count meanwhile
            print(counts[0], time.monotonic(), flush=True)
        if taken % ACKNOWLEDGED_TOGETHER == 0:
            await message.ack(multiple=True)

    return take


async def _consume(url: str, prefetch: int) -> None:
    decode = msgspec.json.Decoder(CallPlaced).decode
    async with await aio_pika.connect(url) as connection:
        counts = [0]
        for log in topology.default_logs():
            if log.kind == "calls":
                channel = await connection.channel()
                await channel.set_qos(prefetch_count=prefetch)
                queue = await channel.get_queue(log.queue)
                await queue.consume(_taking(decode, counts), arguments={"x-stream-offset": "next"})
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
