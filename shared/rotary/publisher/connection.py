"""A connection to the broker that reconnects by itself and holds a channel for each routing key.

It uses aiormq, the layer below aio-pika. aio-pika's robust connection restores topology and consumers, which a
publisher does not have, and costs more per message.
"""

import asyncio
import logging
from collections.abc import Coroutine
from functools import partial
from ssl import SSLContext
from typing import Any, TypeVar

import aiormq
from aiormq import Channel
from aiormq import Connection as AmqpConnection
from aiormq.connection import TransportFactory
from yarl import URL

from rotary.amqp import (
    AmqpUnavailableError,
    LoginRefusedError,
    TlsError,
    VirtualHostRefusedError,
    address,
    connected,
    error_text,
)
from rotary.backoff import retry_delay
from rotary.errors import ConfigurationError, UnavailableError
from rotary.publisher.channel import ConfirmedChannel, Message, PublishInterrupted
from rotary.publisher.errors import RefusedError
from rotary.publisher.library_logs import debug_log_context
from rotary.publisher.wire import Wire

_CONNECT_SECONDS = 10.0
# aiormq closes a silent connection after a little over three of these: 18 s, well within the default deadline.
_HEARTBEAT_SECONDS = "5"
_CHECK_SECONDS = 1.0
_READY_SECONDS = 0.1

_log = logging.getLogger("rotary.publisher")
_SILENT = "the broker stopped answering"
_LOST = (aiormq.AMQPError, aiormq.ChannelInvalidStateError, OSError, RuntimeError)
T = TypeVar("T")


class Connection:
    """Publishes while the broker answers, and reconnects when it does not.

    `last_error` is the most recent failure, in the broker's words where it has any.
    """

    def __init__(self, url: str, ssl_context: SSLContext | None = None) -> None:
        self._url = URL(url)
        if self._url.scheme not in {"amqp", "amqps"} or not self._url.host:
            raise ConfigurationError("RabbitMQ's URL is invalid: expected amqp://user:password@host/ or amqps://…")
        if "heartbeat" not in self._url.query:
            self._url = self._url.update_query(heartbeat=_HEARTBEAT_SECONDS)
        self._ssl_context = ssl_context
        self._context = debug_log_context()
        self._connection: AmqpConnection | None = None
        self._wire: Wire | None = None
        self._connected = asyncio.Event()
        self._channels: dict[str, ConfirmedChannel] = {}
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._was_connected = False
        self._is_closing = False
        self._lost_at: float | None = None
        self._attempts = 0
        self.last_error = "the handshake did not finish"

    async def open(self, seconds: float) -> None:
        """Connects for the first time.

        Raises UnavailableError when it cannot connect within `seconds`, and at once RefusedError when the broker
        refuses the login, or ConfigurationError when its certificate is untrusted.
        """
        try:
            await self._connect_first(seconds)
        except BaseException:
            await self.close()
            raise

    async def _connect_first(self, seconds: float) -> None:
        self._task = self._start_task(self._run())
        first = asyncio.ensure_future(self._connected.wait())
        await asyncio.wait([self._task, first], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        first.cancel()
        if self._task.done():
            await self._task
        if not self._was_connected:
            raise UnavailableError(f"RabbitMQ at {address(self._url)} does not answer", self.last_error)

    async def close(self) -> None:
        """Closes the connection. Calling it again does nothing."""
        self._is_closing = True
        # `await task` with CancelledError suppressed would also suppress the caller's own cancellation.
        while self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task], timeout=1)

    def send(self, message: Message, routing_key: str) -> bool:
        """Whether there is a channel that sends the message. If not, use `publish`."""
        channel = self._channels.get(routing_key)
        if channel is None or not channel.is_usable:
            return False
        channel.send(message)
        return True

    async def publish(self, body: bytes, routing_key: str, content_type: str) -> None:
        """Returns when the broker has confirmed the message. Waits for a connection without limit: set a timeout.

        Raises PublishInterrupted or PublishFailed.
        """
        channel = await self._usable_channel(routing_key)
        await channel.publish(body, content_type)

    def note(self, interrupted: PublishInterrupted) -> None:
        """Keeps the broker's words as `last_error`, if there are any."""
        self.last_error = interrupted.detail or self.last_error

    def _confirmed(self) -> None:
        # Reset the delay only after a confirm: a connection that opens and breaks at once must keep backing off.
        self._attempts = 0

    async def _usable_channel(self, routing_key: str) -> ConfirmedChannel:
        while True:
            channel = self._channels.get(routing_key)
            if channel is not None and channel.is_usable:
                return channel
            await self._connected.wait()
            if routing_key not in self._opening:
                self._opening[routing_key] = self._start_task(self._open_channel(routing_key))
            await asyncio.wait([self._opening[routing_key]])

    async def _open_channel(self, routing_key: str) -> None:
        """Replaces the channel of this routing key, if there is a connection."""
        try:
            self._close_channel(routing_key)
            if (connection := self._connection) is not None:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
                if connection is self._connection and self._wire is not None:
                    assert isinstance(channel, Channel)
                    self._channels[routing_key] = ConfirmedChannel(channel, self._wire, routing_key, self._confirmed)
        except _LOST as error:
            self.last_error = error_text(error)
            await asyncio.sleep(retry_delay(0))
        finally:
            del self._opening[routing_key]

    def _close_channel(self, routing_key: str) -> None:
        if (channel := self._channels.pop(routing_key, None)) is not None:
            closing = self._start_task(channel.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def _start_task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        return asyncio.create_task(work, name="rotary-publisher", context=self._context)

    async def _run(self) -> None:
        """Connects and reconnects until it is cancelled. The first time, an error that retrying cannot fix ends it."""
        while not self._is_closing:
            wire = Wire()
            connect = partial(self._connect, wire)
            try:
                async with connected(self._url, connect, _CONNECT_SECONDS, wire.reader) as connection:
                    await self._serve(connection, wire)
            except (LoginRefusedError, VirtualHostRefusedError) as error:
                self.last_error = error.reason
                if not self._was_connected:
                    raise RefusedError((), error.reason) from None
            except TlsError as error:
                self.last_error = error.reason
                if not self._was_connected:
                    raise
            except AmqpUnavailableError as error:
                self.last_error = error.reason
            self._log_loss()
            await asyncio.sleep(retry_delay(self._attempts))
            self._attempts += 1

    async def _connect(self, wire: Wire, transport: TransportFactory) -> AmqpConnection:
        connection = AmqpConnection(self._url, context=self._ssl_context, transport_factory=wire.through(transport))
        await connection.connect()
        return connection

    async def _serve(self, connection: AmqpConnection, wire: Wire) -> None:
        """Makes the connection available to publishes until it is lost."""
        reason = ""
        try:
            self._use(connection, wire)
            reason = await self._wait_closed(connection)
        except asyncio.CancelledError:
            # When the broker is silent, aiormq cancels the tasks that wait for it. Only our own cancellation counts.
            if self._is_closing or _is_cancelled():
                raise
            reason = _SILENT
        except Exception:  # noqa: BLE001 - logged
            # A bug must not end the publisher, and must not go unseen.
            reason = "an internal error; see the log"
            _log.exception("internal error while publishing")
        finally:
            self._connection = self._wire = None
            self._connected.clear()
            channels, self._channels = self._channels, {}
            for channel in channels.values():
                channel.abandon()
            wire.close()
        # Set it last: each interrupted publish has stored the error of its channel.
        self.last_error = reason

    def _use(self, connection: AmqpConnection, wire: Wire) -> None:
        if not self._was_connected:
            self._was_connected = True
            self.last_error = "no confirm arrived"
        if self._lost_at is not None:
            seconds = asyncio.get_running_loop().time() - self._lost_at
            self._lost_at = None
            _log.info("reconnected to RabbitMQ at %s after %.1f s", address(self._url), seconds)
        self._connection, self._wire = connection, wire
        self._connected.set()

    async def _wait_closed(self, connection: AmqpConnection) -> str:
        """Returns the reason when the connection is closed. Replaces channels that are overdue meanwhile."""
        closing = asyncio.ensure_future(connection.closing)
        while not closing.done():
            await asyncio.wait([closing], timeout=_CHECK_SECONDS)
            now = asyncio.get_running_loop().time()
            overdue = [key for key, channel in self._channels.items() if channel.is_overdue(now)]
            if overdue and await _is_reading(connection):
                self.last_error = "the broker did not confirm"
                for routing_key in overdue:
                    self._close_channel(routing_key)
        error = None if closing.cancelled() else closing.exception()
        # aiormq reports an overdue heartbeat as a cancellation.
        return _SILENT if error is None or isinstance(error, asyncio.CancelledError) else error_text(error)

    def _log_loss(self) -> None:
        """Logs once per loss, not once per attempt."""
        if self._was_connected and not self._is_closing and self._lost_at is None:
            self._lost_at = asyncio.get_running_loop().time()
            _log.warning("lost the connection to RabbitMQ at %s; reconnecting: %s", address(self._url), self.last_error)


async def _is_reading(connection: AmqpConnection) -> bool:
    """Whether the broker reads from this connection. During a memory or disk alarm it does not."""
    ready = asyncio.ensure_future(connection.ready())
    await asyncio.wait([ready], timeout=_READY_SECONDS)
    return not ready.cancel()


def _is_cancelled() -> bool:
    """Whether the current task is cancelled. Valid only without a TaskGroup: in 3.11 one leaves `cancelling()` at 1."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
