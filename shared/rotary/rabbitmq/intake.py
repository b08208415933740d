"""Deliveries from one queue, held in a buffer that the broker's prefetch bounds.

A delivery callback does nothing but append: aio-pika cancels running callbacks when a connection breaks, and whatever
one was awaiting would be cut in the middle. Nothing recovers by itself here either: a broken intake says so, and its
owner opens another, which declares everything anew and holds no stale delivery.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
from aio_pika.abc import AbstractChannel
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel as UnderlayChannel
from aiormq.exceptions import AMQPError, ChannelInvalidStateError
from pamqp.commands import Basic
from pamqp.common import FieldTable

from rotary.errors import ConfigurationError, UnavailableError
from rotary.rabbitmq.messages import Message
from rotary.trust import distrust

CONNECT_SECONDS = 10
WAIT_SECONDS = 1.0
GATHER_SECONDS = 0.005
ENOUGH_MESSAGES = 200
MOST_BYTES = 262_144
"""What is taken becomes one call of the fold: few enough events that Redis answers a reader soon."""
_AWAY = (AMQPError, OSError, TimeoutError, ChannelInvalidStateError)


@asynccontextmanager
async def channel(url: str, *, confirms: bool = False) -> AsyncIterator[AbstractChannel]:
    """A channel on a connection of its own. Whatever the broker's absence breaks inside becomes UnavailableError.

    Raises ConfigurationError for what waiting cannot mend: a login refused, a certificate not believed.
    """
    try:
        async with await aio_pika.connect(url, timeout=CONNECT_SECONDS) as connection:
            yield await connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
    except aio_pika.exceptions.ProbableAuthenticationError as error:
        raise ConfigurationError(
            f"RabbitMQ refuses the user or virtual host of ROTARY_RABBITMQ_URL: {error}"
        ) from error
    except _AWAY as error:
        if why := distrust(error):
            raise ConfigurationError(f"RabbitMQ at the address in ROTARY_RABBITMQ_URL: {why}") from error
        raise UnavailableError(f"RabbitMQ is away: {error!r}") from error


class Intake:
    """One registration as a consumer, and what it was delivered and has not yet taken."""

    def __init__(self, underlay: UnderlayChannel, queue: str) -> None:
        self.queue = queue
        self._underlay = underlay
        self._buffer: deque[Message] = deque()
        self._arrived = asyncio.Event()
        self._tag = ""
        self._taken_at = 0.0
        self._left_over = False

    async def start(self, prefetch: int, arguments: FieldTable | None = None) -> None:
        """Registers; deliveries may arrive from now on, at most `prefetch` unacknowledged."""
        await self._underlay.basic_qos(prefetch_count=prefetch)
        registered = await self._underlay.basic_consume(self.queue, self._deliver, arguments=arguments)
        assert registered.consumer_tag
        self._tag = registered.consumer_tag

    async def stop(self) -> None:
        """Deregisters: nothing more is delivered, what was can still be taken and acknowledged."""
        await self._underlay.basic_cancel(self._tag)

    async def _deliver(self, delivered: DeliveredMessage) -> None:
        self._buffer.append(_message(delivered))
        self._arrived.set()

    @property
    def is_registered(self) -> bool:
        """Whether the broker still knows us: it deregisters whom it can no longer serve, as when a queue is deleted."""
        return not self._underlay.is_closed and self._tag in self._underlay.consumers

    @property
    def held(self) -> deque[Message]:
        """What was delivered and not yet taken, oldest first."""
        return self._buffer

    async def take(self, most: int) -> list[Message]:
        """The next deliveries: at most `most`, at most about 256 KiB, none if none comes within a second.

        At once after a pause; while they keep coming a few milliseconds apart, because what is done once a batch costs
        more than a dozen messages. Raises UnavailableError once the channel is lost.
        """
        await self._gather()
        if not self._buffer:
            await self._wait()
        taken, size = list[Message](), 0
        while self._buffer and len(taken) < most and size < MOST_BYTES:
            message = self._buffer.popleft()
            size += len(message.body)
            taken.append(message)
        self._taken_at, self._left_over = time.monotonic(), bool(self._buffer)
        return taken

    async def _gather(self) -> None:
        # What was left behind by the last take is more than enough for the next.
        early = GATHER_SECONDS - (time.monotonic() - self._taken_at)
        if early > 0 and len(self._buffer) < ENOUGH_MESSAGES and not self._left_over:
            await asyncio.sleep(early)

    async def _wait(self) -> None:
        self._arrived.clear()
        if not self.is_registered:
            raise UnavailableError(f"RabbitMQ no longer delivers from {self.queue}")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._arrived.wait(), WAIT_SECONDS)

    async def acknowledge(self, tag: int) -> None:
        """Acknowledges every delivery up to `tag`."""
        try:
            await self._underlay.basic_ack(tag, multiple=True)
        except _AWAY as error:
            raise UnavailableError(f"RabbitMQ is away: {error!r}") from error


@asynccontextmanager
async def open_intake(
    url: str, queue: str, prefetch: int, arguments: FieldTable | None = None
) -> AsyncIterator[tuple[Intake, AbstractChannel]]:
    """An intake from a queue that exists, on a connection of its own, and that connection's channel."""
    async with channel(url) as opened:
        underlay = await opened.get_underlay_channel()
        assert isinstance(underlay, UnderlayChannel)
        intake = Intake(underlay, queue)
        await intake.start(prefetch, arguments)
        yield intake, opened


def _message(delivered: DeliveredMessage) -> Message:
    properties = delivered.header.properties
    deliver = delivered.delivery
    assert isinstance(deliver, Basic.Deliver)
    assert deliver.delivery_tag is not None
    return Message(
        deliver.delivery_tag,
        deliver.routing_key or "",
        properties.content_type or "",
        delivered.body,
    )
