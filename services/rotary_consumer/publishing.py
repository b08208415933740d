"""The one connection that a consumer publishes through: arrival markers, and what is to be parked.

Of its own, because a memory alarm blocks whoever publishes, and reading must go on.
"""

import asyncio

from aio_pika.abc import AbstractChannel

from rotary.errors import UnavailableError
from rotary.process.backoff import Backoff
from rotary.rabbitmq.connection import channel

LOOK_SECONDS = 0.2
WAIT_SECONDS = 5.0


class Publishing:
    """Keeps a channel with confirms open for as long as `run` runs."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._channel: AbstractChannel | None = None
        self._opened = asyncio.Event()
        self.connections = 0
        """How many there have been: what was declared on an earlier one may be gone."""

    @property
    def is_connected(self) -> bool:
        """Whether there is a channel now."""
        return self._channel is not None and not self._channel.is_closed

    async def channel(self) -> AbstractChannel:
        """The channel, once there is one. Raises UnavailableError when there is none for some seconds."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._opened.wait()
        except TimeoutError:
            raise UnavailableError("RabbitMQ is away") from None
        assert self._channel is not None
        return self._channel

    async def run(self) -> None:
        """Connects, and connects anew, until cancelled."""
        backoff = Backoff(most=1.0)
        while True:
            try:
                async with channel(self._url, confirms=True) as opened:
                    backoff.reset()
                    await self._offer(opened)
                why = "RabbitMQ closed the connection that we publish through"
            except UnavailableError as error:
                why = error.what
            self._opened.clear()
            self._channel = None
            await backoff.wait(why)

    async def _offer(self, opened: AbstractChannel) -> None:
        """Returns when the channel is closed."""
        self._channel = opened
        self.connections += 1
        self._opened.set()
        while not opened.is_closed:  # noqa: ASYNC110  # it closes in more ways than one can wait for
            await asyncio.sleep(LOOK_SECONDS)
