"""A connection to the broker, kept open across whatever happens to it, with a channel for each routing key.

aio-pika's robust connection restores topology and consumers, which a publisher has none of, and spends more a message;
this speaks to the layer below it (aiormq) and reconnects by itself.
"""

import asyncio
import logging
from collections.abc import Coroutine
from ssl import SSLContext
from typing import Any, TypeVar

import aiormq
from aiormq import Channel, Connection
from aiormq.connection import TransportFactory
from yarl import URL

from rotary.amqp import AwayError, LoginRefusedError, UntrustedError, VirtualHostRefusedError, address, connected, words
from rotary.errors import ConfigurationError, UnavailableError
from rotary.publisher.errors import RefusedError
from rotary.publisher.channel import Interrupted, Line
from rotary.publisher.library_logs import quiet_context
from rotary.publisher.retries import pause

_CONNECT_SECONDS = 10.0
# The client gives a silent connection up after three of these and a bit: 18 s, well within the default deadline.
_HEARTBEAT_SECONDS = "5"
_STUCK_SECONDS = 1.0
_LOOK_SECONDS = 1.0
_READY_SECONDS = 0.1

_log = logging.getLogger("rotary.publisher")
_LOST = (aiormq.AMQPError, aiormq.ChannelInvalidStateError, OSError, RuntimeError)
T = TypeVar("T")


class Link:
    """`trouble` is the last thing that went wrong, in the broker's words, for the error of who waited in vain."""

    def __init__(self, url: str, ssl_context: SSLContext | None = None) -> None:
        self._url = URL(url)
        if self._url.scheme not in {"amqp", "amqps"} or not self._url.host:
            raise ConfigurationError("RabbitMQ's URL is invalid: expected amqp://user:password@host/ or amqps://…")
        if "heartbeat" not in self._url.query:
            self._url = self._url.update_query(heartbeat=_HEARTBEAT_SECONDS)
        self._ssl_context = ssl_context
        self._context = quiet_context()
        self._connection: Connection | None = None
        self._up = asyncio.Event()
        self._lines: dict[str, Line] = {}
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._is_opened = False
        self._is_closing = False
        self._lost_at: float | None = None
        self._attempt = 0
        self.trouble = "the handshake did not end"

    async def open(self, seconds: float) -> None:
        """Connects for the first time. Raises UnavailableError when that did not succeed within `seconds`, and at once
        RefusedError when the broker is there and refuses the login, ConfigurationError when its certificate is not
        believed.
        """
        try:
            await self._opened(seconds)
        except BaseException:
            await self.close()
            raise

    async def _opened(self, seconds: float) -> None:
        self._task = self._begin(self._run())
        up = asyncio.ensure_future(self._up.wait())
        await asyncio.wait([self._task, up], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        if self._task.done():
            await self._task
        if not self._is_opened:
            raise UnavailableError(f"RabbitMQ at {address(self._url)} does not answer: {self.trouble}")

    async def close(self) -> None:
        """Ends the connection; harmless to repeat."""
        self._is_closing = True
        # Not `await task` with its cancellation suppressed, which would suppress ours too.
        while self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task], timeout=1)

    async def publish(self, body: bytes, routing_key: str, content_type: str) -> None:
        """Returns when the broker has confirmed. Waits for a connection as long as it takes: bring a timeout.

        Call it in a task of its own. Raises Interrupted or Rejected.
        """
        line = self._lines.get(routing_key)
        if line is None or not line.is_open:
            line = await self._line(routing_key)
        try:
            await line.publish(body, content_type)
        except Interrupted as interrupted:
            self.trouble = interrupted.trouble or self.trouble
            raise
        # Only what carried something was a good connection: one that opens and is lost again at once still backs off.
        self._attempt = 0

    async def _line(self, routing_key: str) -> Line:
        while True:
            line = self._lines.get(routing_key)
            if line is not None and line.is_open:
                return line
            await self._up.wait()
            if routing_key not in self._opening:
                self._opening[routing_key] = self._begin(self._open_line(routing_key))
            await asyncio.wait([self._opening[routing_key]])

    async def _open_line(self, routing_key: str) -> None:
        """Opens a channel in place of the one that is used up, if the connection still allows it."""
        try:
            self._dismiss(routing_key)
            if (connection := self._connection) is not None:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
                assert isinstance(channel, Channel)  # the declared type lacks basic_publish's `wait`
                if connection is self._connection:
                    self._lines[routing_key] = Line(channel, routing_key)
        except _LOST as error:
            self.trouble = words(error)
            await asyncio.sleep(pause(0))
        finally:
            del self._opening[routing_key]

    def _dismiss(self, routing_key: str) -> None:
        if (line := self._lines.pop(routing_key, None)) is not None:
            closing = self._begin(line.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        return asyncio.create_task(work, name="rotary-publisher", context=self._context)

    async def _run(self) -> None:
        """Connects, again and again, until it is cancelled; before it was ever open, until waiting cannot mend it."""
        while not self._is_closing:
            try:
                async with connected(self._url, self._connect, _CONNECT_SECONDS) as connection:
                    await self._serve(connection)
            except (LoginRefusedError, VirtualHostRefusedError) as error:
                self.trouble = error.reason
                if not self._is_opened:
                    raise RefusedError((), error.reason) from None
            except UntrustedError as error:
                self.trouble = error.reason
                if not self._is_opened:
                    raise
            except AwayError as error:
                self.trouble = error.reason
            self._tell_loss()
            await asyncio.sleep(pause(self._attempt))
            self._attempt += 1

    async def _connect(self, transport: TransportFactory) -> Connection:
        connection = Connection(self._url, context=self._ssl_context, transport_factory=transport)
        await connection.connect()
        return connection

    async def _serve(self, connection: Connection) -> None:
        """Lets publishes use the connection until it is lost."""
        lost = ""
        try:
            self._arrive(connection)
            lost = await self._until_closed(connection)
        except asyncio.CancelledError:
            # The client answers whoever waits for a silent broker with a cancellation that nobody asked for.
            if self._is_closing or _we_are_cancelled():
                raise
            lost = "it fell silent"
        except Exception:  # noqa: BLE001 - logged
            # A defect, which must neither end the publisher nor go unseen.
            lost = "a defect of the publisher: see its log"
            _log.exception("publishing was interrupted by a defect")
        finally:
            self._connection = None
            self._up.clear()
            lines, self._lines = self._lines, {}
            await asyncio.gather(*(line.abandon(_STUCK_SECONDS) for line in lines.values()))
        # After those who were publishing, whose words are about their channels.
        self.trouble = lost

    def _arrive(self, connection: Connection) -> None:
        if not self._is_opened:
            self._is_opened = True
            self.trouble = "no confirmation arrived"
        if self._lost_at is not None:
            away = asyncio.get_running_loop().time() - self._lost_at
            self._lost_at = None
            _log.info("RabbitMQ at %s is back after %.1f s", address(self._url), away)
        self._connection = connection
        self._up.set()

    async def _until_closed(self, connection: Connection) -> str:
        """Returns why."""
        closing = asyncio.ensure_future(connection.closing)
        while not closing.done():
            await asyncio.wait([closing], timeout=_LOOK_SECONDS)
            now = asyncio.get_running_loop().time()
            overdue = [key for key, line in self._lines.items() if line.is_overdue(now)]
            if overdue and await _is_reading(connection):
                self.trouble = "the broker did not confirm"
                for routing_key in overdue:
                    self._dismiss(routing_key)
        error = None if closing.cancelled() else closing.exception()
        # A cancellation stands for a heartbeat that is overdue.
        return "it fell silent" if error is None or isinstance(error, asyncio.CancelledError) else words(error)

    def _tell_loss(self) -> None:
        """Once a loss, not once an attempt."""
        if self._is_opened and not self._is_closing and self._lost_at is None:
            self._lost_at = asyncio.get_running_loop().time()
            _log.warning("lost RabbitMQ at %s, reconnecting: %s", address(self._url), self.trouble)


async def _is_reading(connection: Connection) -> bool:
    """Whether no alarm, of memory or disk, keeps the broker from reading what we publish."""
    ready = asyncio.ensure_future(connection.ready())
    await asyncio.wait([ready], timeout=_READY_SECONDS)
    return not ready.cancel()


def _we_are_cancelled() -> bool:
    """Of a task that is ours alone, and in which no TaskGroup runs: in Python 3.11 one leaves `cancelling()` at 1."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
