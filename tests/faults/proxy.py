"""A TCP proxy that loses what was said on the way: the one side has acted, the other never hears of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal
from urllib.parse import urlsplit

Direction = Literal["requests", "answers"]
"""To the server, or from it."""


class _Connection:
    """Two streams of bytes; an armed direction swallows one of the next pieces and ends the connection."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._ends = (client, server)
        self.spared: dict[Direction, int] = {}
        """Of an armed direction, how many pieces still pass."""

    async def pump(
        self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: Callable[[], None]
    ) -> None:
        try:
            while data := await reader.read(65_536):
                if (spared := self.spared.get(direction)) == 0:
                    lost()
                    return
                if spared is not None:
                    self.spared[direction] = spared - 1
                writer.write(data)
                await writer.drain()
        except OSError:
            return
        finally:
            self.reset()

    def reset(self) -> None:
        for end in self._ends:
            end.transport.abort()


class Proxy:
    """`url` leads to the target by way of the proxy; `losses` counts the connections that lost something."""

    def __init__(self, target: str, port: int) -> None:
        parts = urlsplit(target)
        login, at, _ = parts.netloc.rpartition("@")
        self.url = parts._replace(netloc=f"{login}{at}127.0.0.1:{port}").geturl()
        self.losses = 0
        self.connections: set[_Connection] = set()

    def lose(self, direction: Direction, spared: int = 0) -> None:
        """Every connection there is now loses what it next carries in this direction, and then itself.

        `spared` pieces pass before: what is lost ought not always to be the first thing that is said after a pause.
        """
        for connection in self.connections:
            connection.spared.setdefault(direction, spared)

    def count(self) -> None:
        self.losses += 1


@asynccontextmanager
async def proxied(target: str) -> AsyncIterator[Proxy]:
    """A proxy on a port of its own."""
    address = urlsplit(target)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answers, requests = await asyncio.open_connection(address.hostname, address.port)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(writer, requests)
        proxy.connections.add(connection)
        await asyncio.gather(
            connection.pump("requests", reader, requests, proxy.count),
            connection.pump("answers", answers, writer, proxy.count),
        )
        proxy.connections.discard(connection)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy = Proxy(target, server.sockets[0].getsockname()[1])
    try:
        yield proxy
    finally:
        server.close()
        for connection in list(proxy.connections):
            connection.reset()
        await asyncio.sleep(0)
