"""Connects the services to the broker: one channel on each connection, and UnavailableError while it is away."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.connection import TransportFactory
from aiormq.exceptions import AMQPError, ChannelInvalidStateError, ChannelNotFoundEntity
from yarl import URL

from rotary.amqp import CONNECT_SECONDS, LoginRefusedError, TlsError, connected
from rotary.errors import ConfigurationError, UnavailableError

AWAY_MESSAGE = "RabbitMQ is away"
AWAY = (AMQPError, OSError, TimeoutError, ChannelInvalidStateError)
"""What the client raises when a call loses its connection or its channel."""


def is_gone(error: ChannelNotFoundEntity) -> bool:
    """Whether the queue does not exist. A broker that has just started also answers 404 for a queue that is not up yet.

    AMQP has one code for both. Only the broker's text tells them apart.
    """
    return "no queue" in str(error)


@asynccontextmanager
async def connection(url: str, seconds: float = CONNECT_SECONDS) -> AsyncIterator[AbstractConnection]:
    """A connection that does not reconnect. The caller opens another one after a loss.

    Raises UnavailableError when the broker does not open it within `seconds`, or when it is lost inside the block.
    Raises ConfigurationError for a refused login or an untrusted certificate, where waiting does not help.
    """

    async def connect(transport: TransportFactory) -> aio_pika.Connection:
        opened = aio_pika.Connection(URL(url))
        opened.kwargs["transport_factory"] = transport
        await opened.connect()
        return opened

    with translate_errors():
        async with connected(URL(url), connect, seconds) as opened:
            yield opened


async def confirm_channel(opened: AbstractConnection) -> AbstractChannel:
    """A channel with publisher confirms: a publish returns once it is confirmed, and raises if it is returned.

    Raises UnavailableError when the connection is closed.
    """
    try:
        return await opened.channel(publisher_confirms=True, on_return_raises=True)
    except RuntimeError as error:
        # aiormq raises it for a closed connection.
        raise UnavailableError(AWAY_MESSAGE, str(error)) from error


@asynccontextmanager
async def channel(
    url: str, *, confirms: bool = False, seconds: float = CONNECT_SECONDS
) -> AsyncIterator[AbstractChannel]:
    """A channel on a connection of its own. Raises as `connection` does."""
    deadline = asyncio.get_running_loop().time() + seconds
    async with connection(url, seconds) as opened:
        async with asyncio.timeout_at(deadline):
            made = await confirm_channel(opened) if confirms else await opened.channel(publisher_confirms=False)
        yield made


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turns the client's errors for a lost broker into UnavailableError.

    Raises ConfigurationError for a refused login or an untrusted certificate, where waiting does not help.
    """
    try:
        with _lost_is_away():
            yield
    except LoginRefusedError as error:
        raise ConfigurationError(
            f"RabbitMQ refuses the user or virtual host of ROTARY_RABBITMQ_URL: {error.reason}"
        ) from error
    except TlsError as error:
        raise ConfigurationError(f"RabbitMQ at the address in ROTARY_RABBITMQ_URL: {error.reason}") from error


@contextmanager
def _lost_is_away() -> Iterator[None]:
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    try:
        yield
    except AWAY as error:
        raise UnavailableError(AWAY_MESSAGE, repr(error)) from error
    except Exception as error:
        # The client raises a plain Exception when a channel is lost while it opens.
        if type(error) is not Exception:
            raise
        raise UnavailableError(AWAY_MESSAGE, "the channel was lost while it opened") from error
    except asyncio.CancelledError:
        # When heartbeats stop, the client cancels the tasks that wait for it. That is an outage, unless
        # our own caller cancelled this task.
        if task.cancelling() > before:
            raise
        raise UnavailableError(AWAY_MESSAGE, "its heartbeats stopped") from None
