"""The connection through which a consumer publishes arrival markers and parked messages.

It is separate from the reading connections: a memory alarm blocks connections that publish, and reading must go on.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aio_pika.abc import AbstractChannel, AbstractConnection

from rotary.errors import UnavailableError
from rotary.rabbitmq.connection import confirm_channel, connection, translate_errors
from rotary.runtime.backoff import Backoff

LOOK_SECONDS = 0.2
WAIT_SECONDS = 5.0


class BrokerChannels:
    """Keeps one connection open while `run` runs, and one channel with confirms for each queue."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: AbstractConnection | None = None
        self._channels: dict[str, AbstractChannel] = {}
        self._opening = asyncio.Lock()
        self._closing = set[asyncio.Task[None]]()
        self._opened = asyncio.Event()
        self.connections = 0
        """Connections opened so far. What was declared on an earlier one may be gone."""

    @property
    def is_connected(self) -> bool:
        """Whether the connection is open."""
        return self._connection is not None and self._connection.connected.is_set()

    @asynccontextmanager
    async def channel(self, queue: str) -> AsyncIterator[AbstractChannel]:
        """The channel for one queue. A failure in the block closes it, and the next call opens another.

        RabbitMQ before 4.0 may confirm what it did not store, on a channel that had a message returned or that feeds
        two streams, when a stream gets another leader (rabbitmq-server #12236).

        Raises UnavailableError when no connection opens within five seconds, or it is lost inside the block.
        """
        with translate_errors():
            channel = await self._channel(queue)
            try:
                yield channel
            except BaseException:
                self._give_up(queue, channel)
                raise

    async def run(self) -> None:
        """Connects and reconnects until cancelled."""
        backoff = Backoff(max_seconds=1.0)
        while True:
            try:
                async with connection(self._url) as opened:
                    backoff.reset()
                    await self._offer(opened)
                why = "RabbitMQ closed the publishing connection"
            except UnavailableError as error:
                why = error.what
            self._opened.clear()
            self._connection = None
            self._channels.clear()
            await backoff.wait(why)

    async def _offer(self, opened: AbstractConnection) -> None:
        """Lets others use the connection until it closes."""
        self._connection = opened
        self.connections += 1
        self._opened.set()
        # `is_closed` stays false when the connection is lost.
        while opened.connected.is_set():  # noqa: ASYNC110  # nothing signals that it was cleared
            await asyncio.sleep(LOOK_SECONDS)

    async def _channel(self, queue: str) -> AbstractChannel:
        try:
            async with asyncio.timeout(WAIT_SECONDS), self._opening:
                await self._opened.wait()
                assert self._connection is not None
                known = self._channels.get(queue)
                if known is None or known.is_closed:
                    known = self._channels[queue] = await confirm_channel(self._connection)
                return known
        except TimeoutError:
            raise UnavailableError("RabbitMQ is away") from None

    def _give_up(self, queue: str, channel: AbstractChannel) -> None:
        """Closes a channel in the background, because a silent broker never answers."""
        if self._channels.get(queue) is not channel:
            return
        del self._channels[queue]
        closing = asyncio.create_task(_close(channel))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


async def _close(channel: AbstractChannel) -> None:
    with suppress(UnavailableError), translate_errors():
        async with asyncio.timeout(WAIT_SECONDS):
            await channel.close()
