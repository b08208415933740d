"""AMQP 0.9.1 as bytes: what no client library would send, published over a socket."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from struct import pack, unpack
from urllib.parse import unquote, urlsplit

CONTENT_TYPE, ENCODING, HEADERS, DELIVERY_MODE, PRIORITY, CORRELATION_ID = 15, 14, 13, 12, 11, 10
REPLY_TO, EXPIRATION, MESSAGE_ID, TIMESTAMP, TYPE, USER_ID, APP_ID, CLUSTER_ID = 9, 8, 7, 6, 5, 4, 3, 2
"""The bits of the properties."""
MAX_FRAME = 131_072
ANSWER_SECONDS = 10
_METHOD, _HEADER, _BODY = 1, 2, 3


def short(raw: bytes) -> bytes:
    """A short string."""
    return bytes([len(raw)]) + raw


def long(raw: bytes) -> bytes:
    """A long string."""
    return pack(">I", len(raw)) + raw


def table(*fields: tuple[bytes, bytes]) -> bytes:
    """A field table of (name, type and value)."""
    return long(b"".join(short(name) + value for name, value in fields))


def nested(depth: int, kind: bytes) -> bytes:
    """A value in so many tables or arrays."""
    value = b"t\x01"
    for _ in range(depth):
        value = b"F" + table((b"a", value)) if kind == b"F" else b"A" + long(value)
    return value


def properties(values: Mapping[int, bytes]) -> bytes:
    """Property flags, and the values in the order of their bits."""
    return pack(">H", sum(1 << bit for bit in values)) + b"".join(values[bit] for bit in sorted(values, reverse=True))


def frame(kind: int, payload: bytes, channel: int = 1) -> bytes:
    """One frame."""
    return pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def content(method: bytes, header: bytes, body: bytes, split: int = MAX_FRAME - 8) -> bytes:
    """A method with content, of these property flags and values."""
    parts = [body[at : at + split] for at in range(0, len(body), split)]
    frames = [frame(_METHOD, method), frame(_HEADER, b"\x00\x3c\x00\x00" + pack(">Q", len(body)) + header)]
    return b"".join([*frames, *(frame(_BODY, part) for part in parts)])


class RefusedByBrokerError(Exception):
    """The broker closed the channel or the connection over a message."""


class RawPublisher:
    """A connection with a channel in confirm mode."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def publish(self, exchange: str, key: bytes, header: bytes, body: bytes) -> None:
        """Returns once the broker has the message. Raises RefusedByBrokerError when it takes none of it."""
        method = b"\x00\x3c\x00\x28\x00\x00" + short(exchange.encode()) + short(key) + b"\x01"
        self._writer.write(content(method, header, body))
        while (answer := await self.method())[:4] != b"\x00\x3c\x00\x50":
            if answer[:4] in (b"\x00\x14\x00\x28", b"\x00\x0a\x00\x32", b"\x00\x3c\x00\x32"):
                raise RefusedByBrokerError(repr(answer[4:80]))

    async def method(self) -> bytes:
        """The payload of the next frame that is a method. Raises TimeoutError when none comes."""
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                try:
                    kind, _, length = unpack(">BHI", await self._reader.readexactly(7))
                    payload = await self._reader.readexactly(length + 1)
                except (EOFError, ConnectionError) as error:
                    raise RefusedByBrokerError("it closed the connection") from error
                if kind == _METHOD:
                    return payload[:-1]

    async def call(self, payload: bytes, channel: int = 0) -> bytes:
        """Sends a method and returns the next one that arrives."""
        self._writer.write(frame(_METHOD, payload, channel))
        return await self.method()


@asynccontextmanager
async def raw_publisher(url: str) -> AsyncIterator[RawPublisher]:
    """A connection of its own to the broker of `url`."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        made = RawPublisher(reader, writer)
        writer.write(b"AMQP\x00\x00\x09\x01")
        await made.method()
        login = f"\0{unquote(parts.username or '')}\0{unquote(parts.password or '')}".encode()
        await made.call(b"\x00\x0a\x00\x0b" + table() + short(b"PLAIN") + long(login) + short(b"en_US"))
        writer.write(frame(_METHOD, b"\x00\x0a\x00\x1f" + pack(">HIH", 10, MAX_FRAME, 0), 0))
        await made.call(b"\x00\x0a\x00\x28" + short(unquote(parts.path[1:]).encode() or b"/") + short(b"") + b"\x00")
        await made.call(b"\x00\x14\x00\x0a" + short(b""), 1)
        await made.call(b"\x00\x55\x00\x0a\x00", 1)
        yield made
    finally:
        writer.transport.abort()
