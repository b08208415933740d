"""What a publisher writes to a connection's socket, and reads from it, beside aiormq.

aiormq's `basic_publish` costs a task, a lock, two queues and several futures for each message. Here a message is one
string of bytes, and the messages of one turn of the event loop are one write. aiormq still does everything else on the
connection: the handshake, heartbeats, opening and closing of channels, errors.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

from aiormq.connection import TransportFactory
from yarl import URL

from rotary.frame_tap import METHOD, FrameTap
from rotary.publisher.frames import BLOCKED, UNBLOCKED

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_WRITE_BYTES = 65_536
_MAX_BUFFERED_BYTES = 262_144


class Receiver(Protocol):
    """Takes the frames of one channel."""

    def receive(self, kind: int, data: bytes, begin: int, end: int) -> bool:
        """Whether it took the frame with the payload `data[begin:end]`."""


class Outgoing(Protocol):
    """A message that waits until the socket takes more."""

    def frames(self) -> bytes:
        """Its frames, which are then written at once. Empty if it need not be sent any more."""


class ConfirmTap(FrameTap):
    """Gives the frames of known channels to their receivers first, and tells when the broker takes no messages."""

    def __init__(self, blocked: Callable[[bool], None]) -> None:
        super().__init__()
        self.receivers: dict[int, Receiver] = {}
        """By the channel's number."""
        self._blocked = blocked

    def _take(self, kind: int, channel: int, data: bytes, begin: int, end: int) -> bool:
        if channel:
            receiver = self.receivers.get(channel)
            return receiver is not None and receiver.receive(kind, data, begin, end)
        if kind == METHOD and (method := data[begin : begin + 4]) in (BLOCKED, UNBLOCKED):
            self._blocked(method == BLOCKED)
        return False


class Wire(TransportFactory):
    """The socket of one connection. Sends messages in order, and no more than the socket takes.

    Messages wait here while the broker blocks publishers or the network is slow. What waits here can be withdrawn.
    """

    def __init__(self) -> None:
        self.tap = ConfirmTap(self._set_blocked)
        self._loop = asyncio.get_running_loop()
        self._waiting: OrderedDict[Outgoing, None] = OrderedDict()
        self._transport_factory: TransportFactory | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._is_blocked = False
        self._flush_due = False
        self._draining: asyncio.Task[None] | None = None

    def reader(self) -> asyncio.StreamReader:
        """The reader of its connection."""
        return self.tap

    def through(self, transport: TransportFactory) -> "Wire":
        """Opens its socket with `transport`, whose reader must be `tap`."""
        self._transport_factory = transport
        return self

    async def create(self, url: URL, **options: Any) -> Streams:
        """Called by aiormq to connect."""
        assert self._transport_factory is not None
        reader, self._writer = await self._transport_factory.create(url, **options)
        self._writer.transport.set_write_buffer_limits(high=_MAX_BUFFERED_BYTES)
        return reader, self._writer

    def send(self, message: Outgoing) -> None:
        """Sends the message at the next turn of the event loop, or when the socket takes more."""
        self._waiting[message] = None
        self._flush_soon()

    def withdraw(self, message: Outgoing) -> bool:
        """Whether the message was still waiting. Then it is not sent."""
        if message not in self._waiting:
            return False
        del self._waiting[message]
        return True

    def close(self) -> None:
        """Sends nothing more."""
        self._writer = None
        self._waiting.clear()
        if self._draining is not None:
            self._draining.cancel()

    def _set_blocked(self, blocked: bool) -> None:  # noqa: FBT001 - a state
        self._is_blocked = blocked
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flush_due and self._draining is None:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        while self._may_write():
            assert self._writer is not None
            if self._writer.transport.get_write_buffer_size() > _MAX_BUFFERED_BYTES:
                self._draining = self._loop.create_task(self._drain())
                self._draining.add_done_callback(self._drained)
                return
            self._writer.write(self._next_frames())

    def _may_write(self) -> bool:
        return (
            bool(self._waiting) and not self._is_blocked and self._writer is not None and not self._writer.is_closing()
        )

    def _next_frames(self) -> bytes:
        """At least one message, and about 64 KiB."""
        parts, size = list[bytes](), 0
        while self._waiting and size < _WRITE_BYTES:
            message, _ = self._waiting.popitem(last=False)
            frames = message.frames()
            parts.append(frames)
            size += len(frames)
        return b"".join(parts)

    async def _drain(self) -> None:
        assert self._writer is not None
        await self._writer.drain()

    def _drained(self, task: asyncio.Task[None]) -> None:
        self._draining = None
        # An error means that the connection is lost. Its owner then answers every message.
        if not task.cancelled() and task.exception() is None:
            self._flush_soon()
