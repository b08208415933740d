"""Reads a log: the deliveries of one stream, in order, in a buffer that the broker's prefetch bounds.

aiormq handles the protocol, except for deliveries. A tap between its parser and the socket takes them, for two
reasons. First, a publisher can set any property, and one that aiormq can't decode would close the connection at each
attempt. The tap reads three properties and skips the others by their length. Second, aiormq creates three objects and
two tasks for each message, which would cost more than all other work on it.

Nothing reconnects. A broken consumer raises, and its owner opens another one.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from struct import Struct as Layout
from struct import error as struct_error
from typing import NamedTuple

import aiormq
from aiormq.connection import TransportFactory
from aiormq.exceptions import ChannelNotFoundEntity
from pamqp.common import FieldTable
from yarl import URL

from rotary.amqp import CONNECT_SECONDS, connected
from rotary.errors import UnavailableError
from rotary.frame_tap import BODY, HEADER, METHOD, FrameTap
from rotary.rabbitmq.connection import AWAY, AWAY_MESSAGE, is_gone, translate_errors

GATHER_SECONDS = 0.004
ENOUGH_MESSAGES = 200
BACKLOG_SECONDS = 0.1
"""At most so long after the last batch, the next one of a backlog is waited for."""
MAX_TAKEN_BYTES = 2_097_152
"""Some 10,000 calls in batches: the more are folded in one step, the less each costs."""
WAIT_SECONDS = 1.0

_DELIVER = b"\x00\x3c\x00\x3c"
_u64 = Layout(">Q").unpack_from
_i64 = Layout(">q").unpack_from
_u32 = Layout(">I").unpack_from
_u16 = Layout(">H").unpack_from

_FIXED = {
    ord(kind): width
    for kinds, width in (("tbB", 1), ("suU", 2), ("Iif", 4), ("lLdT", 8), ("D", 5), ("V", 0))
    for kind in kinds
}
"""The length of a value in a field table, by type. Values of the types S, x, A and F begin with their length."""
_OFFSET = b"x-stream-offset"


class Delivery(NamedTuple):
    """One message of a log.

    `exchange` is empty for a message published directly into the log. `user_id` is the publisher's user, which the
    broker checked, or empty. `headers` is an undecoded field table, or empty unless it was requested.
    """

    tag: int
    offset: int
    exchange: str
    routing_key: str
    content_type: str
    user_id: str
    body: bytes
    headers: bytes = b""


class LogMissingError(Exception):
    """The stream does not exist."""


class _Partial:
    """A delivery whose frames are still arriving."""

    __slots__ = ("content_type", "exchange", "headers", "missing", "offset", "parts", "routing_key", "tag", "user_id")

    def __init__(self, tag: int, exchange: str, routing_key: str) -> None:
        self.tag = tag
        self.exchange = exchange
        self.routing_key = routing_key
        self.content_type = ""
        self.user_id = ""
        self.headers = b""
        self.offset: int | None = None
        self.missing = 0
        self.parts: list[bytes] = []


class DeliveryTap(FrameTap):
    """Passes deliveries to `deliver`, and all other frames to the reader of this stream."""

    def __init__(self, deliver: Callable[[_Partial], None], lost: Callable[[], None]) -> None:
        super().__init__()
        self._deliver = deliver
        self._lost = lost
        self._partial: _Partial | None = None
        self._names: dict[bytes, str] = {}

    def feed_eof(self) -> None:
        """Called by the transport when the connection is closed."""
        super().feed_eof()
        self._lost()

    def set_exception(self, exc: Exception) -> None:
        """Called by the transport when the connection is lost."""
        super().set_exception(exc)
        self._lost()

    def _take(self, kind: int, channel: int, data: bytes, begin: int, end: int) -> bool:  # noqa: ARG002 - there is one
        partial = self._partial
        if kind == METHOD:
            if data[begin : begin + 4] != _DELIVER:
                return False
            self._partial = self._begin(data, begin + 4)
        elif partial is None:
            return False
        elif kind == BODY:
            partial.parts.append(data[begin:end])
            partial.missing -= end - begin
            if partial.missing <= 0:
                self._finish(partial)
        elif kind == HEADER:
            (partial.missing,) = _u64(data, begin + 4)
            # An invalid header at worst leaves the message without a content type. Then it is refused.
            with contextlib.suppress(struct_error, IndexError):
                _read_properties(partial, data, begin + 12)
            if not partial.missing:
                self._finish(partial)
        else:
            return False
        return True

    def _begin(self, data: bytes, at: int) -> _Partial:
        at += 1 + data[at]  # the consumer's tag
        (tag,) = _u64(data, at)
        at += 9
        exchange_end = at + 1 + data[at]
        key_end = exchange_end + 1 + data[exchange_end]
        return _Partial(tag, self._name(data[at + 1 : exchange_end]), self._name(data[exchange_end + 1 : key_end]))

    def _name(self, raw: bytes) -> str:
        name = self._names.get(raw)
        if name is None:
            if len(self._names) >= 65_536:
                self._names.clear()
            name = self._names[raw] = raw.decode(errors="replace")
        return name

    def _finish(self, partial: _Partial) -> None:
        self._partial = None
        self._deliver(partial)


def _read_properties(partial: _Partial, data: bytes, at: int) -> None:
    """Reads the content type, the offset header and the user. Skips the other properties by their length."""
    (flags,) = _u16(data, at)
    more, at = flags & 1, at + 2
    while more:
        (further,) = _u16(data, at)
        more, at = further & 1, at + 2
    if flags & 0x8000:
        partial.content_type = data[at + 1 : at + 1 + data[at]].decode(errors="replace")
        at += 1 + data[at]
    if flags & 0x4000:
        at += 1 + data[at]
    if flags & 0x2000:
        (length,) = _u32(data, at)
        partial.headers = data[at + 4 : at + 4 + length]
        partial.offset = _find_offset(data, at + 4, at + 4 + length)
        at += 4 + length
    if not flags & 0x0010:  # no user
        return
    at += (flags >> 12 & 1) + (flags >> 11 & 1)  # delivery mode, priority
    for bit in (10, 9, 8, 7):  # correlation id, reply to, expiration, message id
        if flags >> bit & 1:
            at += 1 + data[at]
    at += 8 * (flags >> 6 & 1)  # timestamp
    if flags & 0x20:  # type
        at += 1 + data[at]
    partial.user_id = data[at + 1 : at + 1 + data[at]].decode(errors="replace")


def _find_offset(data: bytes, at: int, end: int) -> int | None:
    """The value of the first header `x-stream-offset`. The broker puts its own before a forged one."""
    while at < end:
        name_end = at + 1 + data[at]
        name, kind, at = data[at + 1 : name_end], data[name_end], name_end + 1
        if name == _OFFSET and kind == 0x6C:  # l
            offset: int = _i64(data, at)[0]
            return offset
        width = _FIXED.get(kind)
        at += width if width is not None else 4 + _u32(data, at)[0]
    return None


class LogConsumer:
    """One consumer of a stream, with the deliveries that were not taken yet. See `open_log`."""

    def __init__(self, queue: str, *, known_end: int = 0, keep_headers: bool = False) -> None:
        self.queue = queue
        self._known_end = known_end
        self._keep_headers = keep_headers
        self._buffer: deque[Delivery] = deque()
        self._buffered_bytes = 0
        self._arrived = asyncio.Event()
        self._channel: aiormq.abc.AbstractChannel | None = None
        self._tag = ""
        self._taken_at = 0.0
        self._taken_to = 0
        self._left_over = False
        self._last_offset = -1
        self._acknowledged = 0
        self._portion = 1

    def tap(self) -> DeliveryTap:
        """The stream reader for the connection of this consumer."""
        return DeliveryTap(self._deliver, self._arrived.set)

    async def start(self, channel: aiormq.abc.AbstractChannel, prefetch: int, offset: int | str | None) -> None:
        """Registers at an offset, `first` or `next`. At most `prefetch` messages are unacknowledged.

        With None, the queue is not a stream. Raises LogMissingError.
        """
        self._channel = channel
        self._portion = max(1, prefetch // 2)
        await channel.basic_qos(prefetch_count=prefetch)
        try:
            arguments: FieldTable = {} if offset is None else {"x-stream-offset": offset}
            registered = await channel.basic_consume(
                self.queue, _never_called, arguments=arguments, timeout=CONNECT_SECONDS
            )
        except ChannelNotFoundEntity as error:
            if not is_gone(error):
                raise
            raise LogMissingError(self.queue) from error
        assert registered.consumer_tag
        self._tag = registered.consumer_tag
        self._last_offset = offset - 1 if isinstance(offset, int) else -1

    def _deliver(self, partial: _Partial) -> None:
        # The offset is missing only if the headers can't be read. Offsets of a stream are consecutive.
        offset = partial.offset if partial.offset is not None else self._last_offset + 1
        self._last_offset = offset
        body = partial.parts[0] if len(partial.parts) == 1 else b"".join(partial.parts)
        self._buffered_bytes += len(body)
        self._buffer.append(
            Delivery(
                partial.tag,
                offset,
                partial.exchange,
                partial.routing_key,
                partial.content_type,
                partial.user_id,
                body,
                partial.headers if self._keep_headers else b"",
            )
        )
        self._arrived.set()

    @property
    def is_registered(self) -> bool:
        """Whether the broker still has this consumer. It cancels consumers, for example, of a deleted stream."""
        return self._channel is not None and not self._channel.is_closed and self._tag in self._channel.consumers  # type: ignore[attr-defined]  # the abstract channel does not name it

    @property
    def pending(self) -> int:
        """The number of messages that were delivered and not taken."""
        return len(self._buffer)

    async def take(self, limit: int, wait_seconds: float = WAIT_SECONDS) -> list[Delivery]:
        """The next deliveries: at most `limit` and about 2 MiB, or none after `wait_seconds`.

        It returns at once after a pause, and waits a few milliseconds while messages keep coming, because the cost of a
        batch exceeds that of a dozen messages. Raises UnavailableError once the connection is lost.
        """
        portion = min(limit, self._portion)
        if self._known_end - self._taken_to >= portion:
            await self._gather_backlog(portion)
        else:
            await self._gather()
        if not self._buffer:
            await self._wait(wait_seconds)
        taken, size = list[Delivery](), 0
        while self._buffer and len(taken) < limit and size < MAX_TAKEN_BYTES:
            delivery = self._buffer.popleft()
            size += len(delivery.body)
            taken.append(delivery)
        self._buffered_bytes -= size
        if taken:
            self._taken_to = taken[-1].offset + 1
        self._taken_at, self._left_over = time.monotonic(), bool(self._buffer)
        return taken

    async def _gather_backlog(self, messages: int) -> None:
        # So many are in the log and nobody waits for them: the more are folded at once, the less each costs.
        deadline = self._taken_at + BACKLOG_SECONDS
        while len(self._buffer) < messages and self._buffered_bytes < MAX_TAKEN_BYTES:
            if time.monotonic() >= deadline or not self.is_registered:
                return
            await asyncio.sleep(GATHER_SECONDS)

    async def _gather(self) -> None:
        # If the last call left deliveries behind, there are enough for this one.
        early = GATHER_SECONDS - (time.monotonic() - self._taken_at)
        if early > 0 and len(self._buffer) < ENOUGH_MESSAGES and not self._left_over:
            await asyncio.sleep(early)

    async def _wait(self, seconds: float) -> None:
        self._arrived.clear()
        if not self.is_registered:
            raise UnavailableError("RabbitMQ no longer delivers", self.queue)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._arrived.wait()

    async def release(self, tag: int) -> None:
        """Acknowledges up to this tag once half of the prefetch is behind it. For a reader that holds less than half.

        The broker sends as many messages as are acknowledged. A few of them would make a small batch, and its few
        acknowledgements the next one, so that a backlog would be read in small batches for as long as it lasts.
        """
        if tag - self._acknowledged >= self._portion:
            await self.acknowledge(tag)

    async def acknowledge(self, tag: int) -> None:
        """Acknowledges up to this tag, so that the broker sends more. The stream keeps the messages.

        Does nothing for an earlier tag: acknowledging twice is an error.
        """
        assert self._channel is not None
        if tag <= self._acknowledged:
            return
        self._acknowledged = tag
        try:
            await self._channel.basic_ack(tag, multiple=True)
        except AWAY as error:
            raise UnavailableError(AWAY_MESSAGE, repr(error)) from error


@asynccontextmanager
async def open_log(
    url: str,
    queue: str,
    offset: int | str | None,
    prefetch: int = 1000,
    *,
    known_end: int = 0,
    keep_headers: bool = False,
) -> AsyncIterator[LogConsumer]:
    """A consumer of a stream from an offset, `first` or `next`, on its own connection. None is for other queues.

    The messages before the offset `known_end` are known to be there: they are read in batches of half the prefetch.
    Raises LogMissingError, UnavailableError, ConfigurationError.
    """
    consumer = LogConsumer(queue, known_end=known_end, keep_headers=keep_headers)

    async def connect(transport: TransportFactory) -> aiormq.Connection:
        connection = aiormq.Connection(url, transport_factory=transport)
        await connection.connect()
        return connection

    with translate_errors():
        async with connected(URL(url), connect, CONNECT_SECONDS, consumer.tap) as connection:
            async with asyncio.timeout(CONNECT_SECONDS):
                channel = await connection.channel(publisher_confirms=False)
                await consumer.start(channel, prefetch, offset)
            yield consumer


async def _never_called(_message: aiormq.abc.DeliveredMessage) -> None:
    raise AssertionError("a delivery passed the tap")
