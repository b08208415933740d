"""An address that accepts connections and is no working broker: what a client of AMQP meets there."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pamqp.frame
from pamqp.commands import Connection
from pamqp.common import FieldTable

from integration.tcp_proxy import close_server

Misbehaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class BadListener:
    """`url` is its address, with a login."""

    def __init__(self, port: int, scheme: str) -> None:
        self.url = f"{scheme}://guest:guest@127.0.0.1:{port}/"
        self.accepted = 0
        """Connections so far."""
        self.was_found = asyncio.Event()
        """Set once there was one."""


async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As a load balancer without a backend."""


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As a load balancer whose backend has just died."""
    connected: socket.socket = writer.get_extra_info("socket")
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def never_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As a process that is stopped."""
    await reader.read()


async def speaks_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As a web server on the wrong port."""
    writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")


async def speaks_garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Something that looks like a short frame, and stays."""
    writer.write(b"\x01\x00\x00\x00\x00\x00\x04\xff\xff\xff\xff\xce" + bytes(range(256)))
    await reader.read()


async def speaks_another_version(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As a broker that has AMQP 1.0 alone."""
    writer.write(b"AMQP\x00\x01\x00\x00")


async def breaks_a_frame_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As a broker that is killed while it answers."""
    writer.write(_start()[:40])


async def closes_in_the_handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As a node that is booting."""
    await reader.read(8)
    writer.write(_start())
    await reader.read(1)


async def stalls_in_the_handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As a broker that is stopped while it answers."""
    await reader.read(8)
    writer.write(_start())
    await reader.read()


ANSWERING = (closes, resets, speaks_http, speaks_another_version, breaks_a_frame_off, closes_in_the_handshake)
STALLING = (never_answers, speaks_garbage, stalls_in_the_handshake)
SILENT = (closes, resets, never_answers)


@asynccontextmanager
async def listening(misbehave: Misbehaviour, scheme: str = "amqp", port: int = 0) -> AsyncIterator[BadListener]:
    """Listens until left, on a port of its own if none is given; each connection ends when `misbehave` returns."""
    tasks: set[asyncio.Task[None]] = set()
    ends: set[asyncio.StreamWriter] = set()

    # Not a coroutine: one that is cancelled before it begins would leave the connection open for good.
    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        listener.accepted += 1
        listener.was_found.set()
        ends.add(writer)
        task = asyncio.create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await misbehave(reader, writer)
        writer.close()
        ends.discard(writer)

    server = await asyncio.start_server(accept, "127.0.0.1", port, start_serving=False)
    listener = BadListener(server.sockets[0].getsockname()[1], scheme)
    await server.start_serving()
    try:
        yield listener
    finally:
        await close_server(server)
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            end.close()


def _start() -> bytes:
    features: FieldTable = {"capabilities": {"publisher_confirms": True}}
    frame = Connection.Start(0, 9, features, "PLAIN AMQPLAIN", "en_US")
    return pamqp.frame.marshal(frame, 0)
