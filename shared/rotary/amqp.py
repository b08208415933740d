"""Connects to RabbitMQ, for the services and for the publisher, with a hard deadline and typed errors.

The client libraries have no deadline for the handshake. A load balancer without a backend, a node that is starting, or
a web server at that address can make it hang, or fail with an exception of any type. Here every attempt ends by its
deadline with a connection or with one of the errors below.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ssl import SSLContext
from typing import Any, Protocol, TypeVar

import aiormq
from aiormq.connection import SSLContextProvider, TransportFactory
from yarl import URL

from rotary.errors import ConfigurationError, UnavailableError
from rotary.tls import certificate_error

CONNECT_SECONDS = 10.0
CLOSE_SECONDS = 3.0
_ABORT_SECONDS = 1.0
_LOGIN_REFUSED = (aiormq.AuthenticationError, aiormq.ProbableAuthenticationError, aiormq.ConnectionNotAllowed)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class AmqpUnavailableError(UnavailableError):
    """RabbitMQ does not answer, or not as expected; `reason` says what happened."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"RabbitMQ at {where} is unavailable", reason)
        self.reason = reason


class VirtualHostRefusedError(AmqpUnavailableError):
    """The broker closed the connection instead of opening the virtual host, which is missing or still starting."""


class LoginRefusedError(ConfigurationError):
    """The broker refuses the user; `reason` is its own message."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"RabbitMQ at {where} refuses the login: {reason}")
        self.reason = reason


class TlsError(ConfigurationError):
    """TLS failed in a way that retrying cannot fix; `reason` says why, and what to do."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"RabbitMQ at {where}: {reason}")
        self.reason = reason


class Closeable(Protocol):
    """A connection of either client library."""

    async def close(self) -> Any:
        """Closes the connection, and waits for the broker's answer."""


C = TypeVar("C", bound=Closeable)


@asynccontextmanager
async def connected(
    url: URL,
    connect: Callable[[TransportFactory], Awaitable[C]],
    seconds: float = CONNECT_SECONDS,
    reader: Callable[[], asyncio.StreamReader] | None = None,
) -> AsyncIterator[C]:
    """Yields the connection that `connect` opens with the given transport. Leaving closes it within a few seconds.

    `reader` makes the stream reader of the connection, instead of a plain asyncio.StreamReader.

    Raises LoginRefusedError, TlsError, or AmqpUnavailableError for everything else, after `seconds` at the latest.
    Errors of the block pass through.
    """
    transport = _Transport(reader)
    connection = await _connect(url, connect, transport, seconds)
    try:
        yield connection
    finally:
        closing = asyncio.ensure_future(connection.close())
        await _done_within(closing, CLOSE_SECONDS, transport)


def address(url: URL) -> str:
    """The host and the port, without the login."""
    return f"{url.host}:{url.port or (5671 if url.scheme == 'amqps' else 5672)}"


def error_text(error: BaseException) -> str:
    """The error's message, or its class name if it has no message."""
    text = " ".join(str(argument) for argument in error.args if isinstance(argument, str | int)).strip()
    return text or type(error).__name__


async def _connect(
    url: URL, connect: Callable[[TransportFactory], Awaitable[C]], transport: "_Transport", seconds: float
) -> C:
    attempt: asyncio.Future[C] = asyncio.ensure_future(connect(transport))
    if not await _done_within(attempt, seconds, transport):
        raise AmqpUnavailableError(address(url), f"no answer within {seconds:g} s")
    if attempt.cancelled():
        raise AmqpUnavailableError(address(url), "the connection was lost during the handshake")
    if (error := attempt.exception()) is not None:
        # Not `from error`: aiormq's errors refer to each other in a circle, which error reporters may not expect.
        raise _translate(url, error) from None
    return attempt.result()


async def _done_within(task: asyncio.Future[Any], seconds: float, transport: "_Transport") -> bool:
    """Whether the task finished in time. If not, or if the caller is cancelled, aborts the transport and cancels it."""
    done: set[asyncio.Future[Any]] = set()
    try:
        done, _ = await asyncio.wait([task], timeout=seconds)
        return bool(done)
    finally:
        if not done:
            # While the task is cancelled the client may await, for example, TLS's close. Aborting ends that.
            transport.abort()
            task.cancel()
            task.add_done_callback(_retrieve)
            await asyncio.wait([task], timeout=_ABORT_SECONDS)


def _retrieve(task: asyncio.Future[Any]) -> None:
    """Marks the error as retrieved, so that asyncio does not print it."""
    if not task.cancelled():
        task.exception()


def _translate(url: URL, error: BaseException) -> Exception:
    where = address(url)
    if isinstance(error, ConfigurationError):
        return error
    if isinstance(error, _LOGIN_REFUSED):
        return LoginRefusedError(where, error_text(error))
    if why := certificate_error(error):
        return TlsError(where, why)
    if isinstance(error, aiormq.InvalidFrameError) and "Connection.Close" in error_text(error):
        # aiormq drops the broker's message at this step. Only the virtual host can be refused here.
        return VirtualHostRefusedError(where, "the virtual host does not exist, or this user may not use it")
    if isinstance(error, StopAsyncIteration):
        return AmqpUnavailableError(where, "the connection was closed during the handshake")
    return AmqpUnavailableError(where, error_text(error))


class _Transport(TransportFactory):
    """Opens the client's connection, and can abort it."""

    def __init__(self, reader: Callable[[], asyncio.StreamReader] | None) -> None:
        self._reader = reader
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **options: Any) -> Streams:
        """Called by aiormq to connect."""
        provider: SSLContextProvider = options.pop("ssl_context_provider")
        context = await _context(provider) if url.scheme == "amqps" else None
        if self._reader is None:
            reader, self._writer = await asyncio.open_connection(url.host, url.port, ssl=context, **options)
            return reader, self._writer
        loop, reader = asyncio.get_running_loop(), self._reader()
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.create_connection(lambda: protocol, url.host, url.port, ssl=context, **options)  # type: ignore[arg-type]  # a URL has both
        self._writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        return reader, self._writer

    def abort(self) -> None:
        """Drops the connection at once. Does nothing when it is closed or was never opened."""
        if self._writer is not None:
            self._writer.transport.abort()


async def _context(provider: SSLContextProvider) -> SSLContext:
    try:
        return await provider.get_context()
    except OSError as error:
        why = error.strerror or error
        raise ConfigurationError(f"cannot read the certificates named in RabbitMQ's URL: {why}") from error
