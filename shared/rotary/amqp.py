"""Connecting to RabbitMQ, for the services and for the publisher: one policy, with a deadline that nothing can stretch.

The client libraries trust whoever answers at the address. A load balancer without a backend, a node that is booting or
a web server can hold their handshake forever, or break it with an exception of any type. Here every attempt ends by
its deadline, and ends in one of the errors below.
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


class AwayError(UnavailableError):
    """RabbitMQ does not answer as it should; `reason` says how."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"RabbitMQ at {where} is away: {reason}")
        self.reason = reason


class VirtualHostRefusedError(AwayError):
    """The broker closed the connection instead of opening the virtual host: it is missing, or it is still starting."""


class LoginRefusedError(ConfigurationError):
    """The broker refuses the user; `reason` is in its words."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"RabbitMQ at {where} refuses the login: {reason}")
        self.reason = reason


class UntrustedError(ConfigurationError):
    """TLS fails in a way that trying again cannot mend; `reason` says why, and what to do."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"RabbitMQ at {where}: {reason}")
        self.reason = reason


class Closeable(Protocol):
    """A connection of either client library."""

    async def close(self) -> Any:
        """Says goodbye to the broker, and waits for its answer."""


C = TypeVar("C", bound=Closeable)


@asynccontextmanager
async def connected(
    url: URL,
    connect: Callable[[TransportFactory], Awaitable[C]],
    seconds: float = CONNECT_SECONDS,
    reader: Callable[[], asyncio.StreamReader] | None = None,
) -> AsyncIterator[C]:
    """What `connect` connects by way of the given transport; leaving closes it, in a bounded time.

    `reader` makes what the client reads from, if it is not to be a plain one.

    Raises LoginRefusedError, UntrustedError, and AwayError for everything else, after `seconds` at the latest. What the
    block raises passes through.
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


def words(error: BaseException) -> str:
    """What an error says, or its name when it says nothing."""
    said = " ".join(str(argument) for argument in error.args if isinstance(argument, str | int)).strip()
    return said or type(error).__name__


async def _connect(
    url: URL, connect: Callable[[TransportFactory], Awaitable[C]], transport: "_Transport", seconds: float
) -> C:
    attempt: asyncio.Future[C] = asyncio.ensure_future(connect(transport))
    if not await _done_within(attempt, seconds, transport):
        raise AwayError(address(url), f"no answer within {seconds:g} s")
    if attempt.cancelled():
        raise AwayError(address(url), "the connection was lost during the handshake")
    if (error := attempt.exception()) is not None:
        # Not `from error`: the client links its errors in a circle, which programs that report errors may not expect.
        raise _judged(url, error) from None
    return attempt.result()


async def _done_within(task: asyncio.Future[Any], seconds: float, transport: "_Transport") -> bool:
    """Whether the task is done in time. If not, or if we are cancelled, it is cancelled and its transport aborted."""
    done: set[asyncio.Future[Any]] = set()
    try:
        done, _ = await asyncio.wait([task], timeout=seconds)
        return bool(done)
    finally:
        if not done:
            # What the client awaits while it is cancelled, such as TLS's goodbye, ends with the transport.
            transport.abort()
            task.cancel()
            task.add_done_callback(_retrieve)
            await asyncio.wait([task], timeout=_ABORT_SECONDS)


def _retrieve(task: asyncio.Future[Any]) -> None:
    """Nobody waits for this error any more, and asyncio is not to print it."""
    if not task.cancelled():
        task.exception()


def _judged(url: URL, error: BaseException) -> Exception:
    where = address(url)
    if isinstance(error, ConfigurationError):
        return error
    if isinstance(error, _LOGIN_REFUSED):
        return LoginRefusedError(where, words(error))
    if why := certificate_error(error):
        return UntrustedError(where, why)
    if isinstance(error, aiormq.InvalidFrameError) and "Connection.Close" in words(error):
        # aiormq drops the broker's words at this step, which can only be about the virtual host.
        return VirtualHostRefusedError(where, "the virtual host does not exist, or this user may not use it")
    if isinstance(error, StopAsyncIteration):
        return AwayError(where, "the connection was closed during the handshake")
    return AwayError(where, words(error))


class _Transport(TransportFactory):
    """Opens the client's connection, and keeps hold of it to abort it."""

    def __init__(self, reader: Callable[[], asyncio.StreamReader] | None) -> None:
        self._reader = reader
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **options: Any) -> Streams:
        """What aiormq calls to connect."""
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
        """Drops the connection without a word; harmless when it is closed, or was never opened."""
        if self._writer is not None:
            self._writer.transport.abort()


async def _context(provider: SSLContextProvider) -> SSLContext:
    try:
        return await provider.get_context()
    except OSError as error:
        why = error.strerror or error
        raise ConfigurationError(f"the certificates named in RabbitMQ's URL cannot be read: {why}") from error
