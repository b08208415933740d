"""The frames of AMQP 0.9.1 that a publish consists of, and those that answer it."""

from collections.abc import Iterator
from contextlib import suppress
from struct import Struct as Layout
from struct import error as struct_error
from typing import NamedTuple

from rotary.frame_tap import BODY, FRAME_END, HEADER, METHOD

ACK, NACK, RETURN = b"\x00\x3c\x00\x50", b"\x00\x3c\x00\x78", b"\x00\x3c\x00\x32"
CHANNEL_CLOSE = b"\x00\x14\x00\x28"
BLOCKED, UNBLOCKED = b"\x00\x0a\x00\x3c", b"\x00\x0a\x00\x3d"

_PUBLISH = b"\x00\x3c\x00\x28\x00\x00"
_MANDATORY = b"\x01"
_BASIC = b"\x00\x3c\x00\x00"
_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS, _DELIVERY_MODE, _PRIORITY = 0x8000, 0x4000, 0x2000, 0x1000, 0x0800
_CORRELATION_ID, _REPLY_TO, _EXPIRATION, _MESSAGE_ID = 0x0400, 0x0200, 0x0100, 0x0080
_FLAGS = (_CONTENT_TYPE | _DELIVERY_MODE | _MESSAGE_ID).to_bytes(2, "big")
_PERSISTENT = b"\x02"
_ID_DIGITS = 16
_FRAME_OVERHEAD = 8
_UNLIMITED_FRAME = 2**20

_start = Layout(">BHI").pack
_u16 = Layout(">H").unpack_from
_u32 = Layout(">I").unpack_from
_confirmed = Layout(">QB").unpack_from
_size = Layout(">Q").pack


class Closed(NamedTuple):
    """Why the broker closed a channel."""

    code: int
    text: str


def short(text: str) -> bytes:
    """A string of at most 255 bytes as AMQP writes it. Raises OverflowError for a longer one."""
    raw = text.encode()
    return len(raw).to_bytes(1, "big") + raw


class MessageFrames:
    """Makes the frames of the messages of one channel, exchange, routing key and content type.

    Messages are persistent and mandatory. Each has its number as its message id, by which a returned one is recognised.
    """

    def __init__(self, channel: int, exchange: str, routing_key: str, content_type: str, frame_max: int) -> None:
        method = _PUBLISH + short(exchange) + short(routing_key) + _MANDATORY
        properties = _FLAGS + short(content_type) + _PERSISTENT + bytes([_ID_DIGITS])
        header_size = len(_BASIC) + 8 + len(properties) + _ID_DIGITS
        self._channel = channel
        self._before_size = b"".join(
            (_start(METHOD, channel, len(method)), method, FRAME_END, _start(HEADER, channel, header_size), _BASIC)
        )
        self._properties = properties
        self._max_body = (frame_max or _UNLIMITED_FRAME) - _FRAME_OVERHEAD

    def encode(self, number: int, body: bytes) -> bytes:
        """The frames of one message. `number` is its delivery tag in the broker's confirms."""
        size = len(body)
        if not 0 < size <= self._max_body:
            return self._head(number, size) + b"".join(self._split(body))
        return b"%b%b%b%016x\xce%b%b\xce" % (
            self._before_size,
            _size(size),
            self._properties,
            number,
            _start(BODY, self._channel, size),
            body,
        )

    def _head(self, number: int, size: int) -> bytes:
        return b"%b%b%b%016x\xce" % (self._before_size, _size(size), self._properties, number)

    def _split(self, body: bytes) -> Iterator[bytes]:
        for at in range(0, len(body), self._max_body):
            part = body[at : at + self._max_body]
            yield _start(BODY, self._channel, len(part))
            yield part
            yield FRAME_END


def read_confirm(data: bytes, begin: int) -> tuple[int, bool]:
    """The delivery tag of a basic.ack or basic.nack, and whether it answers everything up to there."""
    tag, bits = _confirmed(data, begin + 4)
    return tag, bool(bits & 1)


def read_return(data: bytes, begin: int) -> str:
    """The broker's words and the routing key of a basic.return."""
    text, at = _read_short(data, begin + 6)
    _, at = _read_short(data, at)
    key, _ = _read_short(data, at)
    return f"{text} {key}"


def read_close(data: bytes, begin: int) -> Closed:
    """The reason in a channel.close."""
    return Closed(_u16(data, begin + 4)[0], _read_short(data, begin + 6)[0])


def read_message_number(data: bytes, begin: int, end: int) -> int | None:
    """The number in the content header of a returned message. None if it is none of `MessageFrames`."""
    with suppress(struct_error, IndexError, ValueError):
        (flags,) = _u16(data, begin + 12)
        at = begin + 14
        for bit in (_CONTENT_TYPE, _CONTENT_ENCODING):
            if flags & bit:
                at += 1 + data[at]
        if flags & _HEADERS:
            at += 4 + _u32(data, at)[0]
        at += bool(flags & _DELIVERY_MODE) + bool(flags & _PRIORITY)
        for bit in (_CORRELATION_ID, _REPLY_TO, _EXPIRATION):
            if flags & bit:
                at += 1 + data[at]
        if flags & _MESSAGE_ID and at < end:
            return int(_read_short(data, at)[0], 16)
    return None


def _read_short(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    return data[at + 1 : end].decode(errors="replace"), end
