"""Connecting to the broker as the services do: a channel on a connection of its own, and one error for its absence."""

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

AWAY = (AMQPError, OSError, TimeoutError, ChannelInvalidStateError)
"""What the client raises when the connection or the channel under a call is lost."""


def is_gone(error: ChannelNotFoundEntity) -> bool:
    """Whether there is no such queue. A broker that has just started says "not found" of one not up yet, too."""
    return "no queue" in str(error)


@asynccontextmanager
async def connection(url: str, seconds: float = CONNECT_SECONDS) -> AsyncIterator[AbstractConnection]:
    """A connection that is not recovered: whoever loses it opens another.

    Raises UnavailableError when the broker does not open it within `seconds`, or is lost inside the block, and
    ConfigurationError for what waiting cannot mend: a login refused, a certificate not trusted.
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
    """A channel on which a publish returns when it is confirmed, and raises when the message is returned.

    Raises UnavailableError when the connection is closed.
    """
    try:
        return await opened.channel(publisher_confirms=True, on_return_raises=True)
    except RuntimeError as error:
        # What aiormq raises for a closed connection.
        raise UnavailableError(f"RabbitMQ is away: {error}") from error


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
    """Turns what the client raises when the broker is lost into UnavailableError.

    Raises ConfigurationError for what waiting cannot mend: a login refused, a certificate not trusted.
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
        raise UnavailableError(f"RabbitMQ is away: {error!r}") from error
    except Exception as error:
        # What the client raises from a call on a channel that is lost while it opens, without a class of its own.
        if type(error) is not Exception:
            raise
        raise UnavailableError("RabbitMQ is away: the channel was lost while it opened") from error
    except asyncio.CancelledError:
        # When the broker falls silent, the client answers whoever waits with a cancellation that nobody asked for. It
        # would end our task as if we had been told to stop.
        if task.cancelling() > before:
            raise
        raise UnavailableError("RabbitMQ is away: it fell silent") from None
