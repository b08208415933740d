"""AMQP as no client library speaks it: a message whose properties are whatever bytes one likes."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import unquote, urlsplit

from pamqp import commands, constants, frame
from pamqp.base import Frame

SECONDS = 10
_HEADERS, _CORRELATION, _TIMESTAMP, _CONTENT_TYPE = 0x2000, 0x0400, 0x0040, 0x8000


def short(value: bytes) -> bytes:
    """A short string."""
    return bytes([len(value)]) + value


def table(fields: bytes) -> bytes:
    """A field table of encoded fields."""
    return struct.pack(">I", len(fields)) + fields


def nested(depth: int) -> bytes:
    """A table in a table in a table …"""
    made = table(b"")
    for _ in range(depth):
        made = table(short(b"t") + b"F" + made)
    return made


def properties(
    content_type: str, *, headers: bytes = b"", correlation_id: bytes = b"", timestamp: int | None = None
) -> bytes:
    """Flags and values; `headers` is an encoded table."""
    flags, values = _CONTENT_TYPE, short(content_type.encode())
    if headers:
        flags, values = flags | _HEADERS, values + headers
    if correlation_id:
        flags, values = flags | _CORRELATION, values + short(correlation_id)
    if timestamp is not None:
        flags, values = flags | _TIMESTAMP, values + struct.pack(">Q", timestamp)
    return struct.pack(">H", flags) + values


class Wire:
    """A channel with confirms."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def publish(self, exchange: str, key: str, raw_properties: bytes, body: bytes) -> bool:
        """Whether the broker confirmed it; it may as well close the connection."""
        publish = frame.marshal(commands.Basic.Publish(exchange=exchange, routing_key=key, mandatory=True), 1)
        header = struct.pack(">HHQ", 60, 0, len(body)) + raw_properties
        self._writer.write(publish + _frame(2, header) + _frame(3, body))
        try:
            async with asyncio.timeout(SECONDS):
                while not isinstance(answer := await self._answer(), commands.Basic.Ack):
                    if isinstance(answer, commands.Connection.Close | commands.Channel.Close | commands.Basic.Return):
                        return False
        except (OSError, EOFError):
            return False
        return True

    async def open(self, user: str, password: str) -> None:
        """Logs in and opens the channel."""
        self._writer.write(b"AMQP\x00\x00\x09\x01")
        await self._expect(commands.Connection.Start)
        login = f"\0{user}\0{password}"
        await self._call(
            0, commands.Connection.StartOk({}, "PLAIN", login, "en_US"), commands.Connection.Tune
        )  # fmt: skip
        self._writer.write(frame.marshal(commands.Connection.TuneOk(1, 131_072, 0), 0))
        await self._call(0, commands.Connection.Open("/"), commands.Connection.OpenOk)
        await self._call(1, commands.Channel.Open(), commands.Channel.OpenOk)
        await self._call(1, commands.Confirm.Select(), commands.Confirm.SelectOk)

    async def _call(self, channel: int, request: Frame, answer: type[Frame]) -> None:
        self._writer.write(frame.marshal(request, channel))
        await self._expect(answer)

    async def _expect(self, kind: type[Frame]) -> None:
        async with asyncio.timeout(SECONDS):
            answer = await self._answer()
        assert isinstance(answer, kind), answer

    async def _answer(self) -> object:
        head = await self._reader.readexactly(7)
        size = struct.unpack(">I", head[3:])[0]
        return frame.unmarshal(head + await self._reader.readexactly(size + 1))[2]


def _frame(kind: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, 1, len(payload)) + payload + bytes([constants.FRAME_END])


@asynccontextmanager
async def wired(url: str) -> AsyncIterator[Wire]:
    """A connection to the broker at a URL."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        wire = Wire(reader, writer)
        await wire.open(unquote(address.username or ""), unquote(address.password or ""))
        yield wire
    finally:
        writer.close()
