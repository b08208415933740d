"""A stream reader between a connection's socket and aiormq: takes some frames for itself and passes on all others.

aiormq handles the protocol and hands out, for each message, several objects and tasks. Where thousands of messages a
second pass, a tap handles the frames that belong to messages, and aiormq never sees them.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from struct import Struct as Layout

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
"""The types of frames in AMQP 0.9.1."""
FRAME_END = b"\xce"

_frame = Layout(">BHI").unpack_from
_KINDS = frozenset((METHOD, HEADER, BODY, HEARTBEAT))
_HEARTBEAT_FRAME = b"\x08\x00\x00\x00\x00\x00\x00\xce"


class FrameTap(asyncio.StreamReader, ABC):
    """Calls `_take` with each frame. aiormq reads the frames that it did not take.

    What is no AMQP, for instance the answer of a web server, is passed on as it is: aiormq has an error for it.
    """

    def __init__(self) -> None:
        super().__init__(limit=2**20, loop=asyncio.get_running_loop())
        self._rest = b""
        self._is_amqp = True
        self._heartbeat_at = 0.0

    @abstractmethod
    def _take(self, kind: int, channel: int, data: bytes, begin: int, end: int) -> bool:
        """Whether the frame is taken. Its payload is `data[begin:end]`."""

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]  # typeshed's idea of bytes is wider
        """Called by the transport with received bytes."""
        if self._rest:
            data = self._rest + data
        at, size, others = 0, len(data), list[bytes]()
        while size - at >= 8 and self._is_amqp:
            kind, channel, length = _frame(data, at)
            self._is_amqp = kind in _KINDS
            end = at + 7 + length
            if end >= size:
                break
            if not self._take(kind, channel, data, at + 7, end):
                others.append(data[at : end + 1])
            at = end + 1
        self._rest = data[at:]
        if not self._is_amqp:
            others.append(self._rest)
            self._rest = b""
        self._pass_on(b"".join(others))

    def feed_eof(self) -> None:
        """Called by the transport when the connection is closed."""
        if self._rest:
            super().feed_data(self._rest)
        super().feed_eof()

    def _pass_on(self, others: bytes) -> None:
        now = time.monotonic()
        if not others and now - self._heartbeat_at < 1.0:
            return
        # A busy connection sends no heartbeats. Without one, aiormq would close it.
        self._heartbeat_at = now
        super().feed_data(others or _HEARTBEAT_FRAME)
