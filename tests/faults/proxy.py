"""A TCP proxy that loses, holds back or redirects what is said: the one side has acted, the other never hears of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal
from urllib.parse import urlsplit

Direction = Literal["requests", "answers"]
"""To the server, or from it."""


class _Connection:
    """Two streams of bytes; an armed direction swallows one of the next pieces and ends the connection."""

    def __init__(self, proxy: "Proxy", client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._ends = (client, server)
        self.spared: dict[Direction, int] = {}
        """Of an armed direction, how many pieces still pass."""

    async def pump(self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                if (spared := self.spared.get(direction)) == 0 or self._proxy.swallows(direction, data):
                    self._proxy.losses += 1
                    self.reset()
                    return
                if spared is not None:
                    self.spared[direction] = spared - 1
                await self._proxy.pass_on(direction, data)
                writer.write(data)
                await writer.drain()
        except OSError:
            self.reset()
        finally:
            # What is on its way still arrives, as with TCP itself.
            writer.close()

    def reset(self) -> None:
        for end in self._ends:
            end.transport.abort()


class Proxy:
    """`url` leads to the target by way of the proxy; `losses` counts the connections that lost something."""

    def __init__(self, target: str, port: int) -> None:
        self._parts = urlsplit(target)
        login, at, _ = self._parts.netloc.rpartition("@")
        self.url = self._parts._replace(netloc=f"{login}{at}127.0.0.1:{port}").geturl()
        self.losses = 0
        self.refused = 0
        """Connections that were accepted and closed at once."""
        self._passes = asyncio.Event()
        self.is_open = True
        self._swallowed: bytes | None = None
        self._held_word: bytes | None = None
        self.held = 0
        """Connections whose requests are held back now."""
        self.connections: set[_Connection] = set()

    def lose(self, direction: Direction, spared: int = 0) -> None:
        """Every connection there is now loses what it next carries in this direction, and then itself.

        `spared` pieces pass before: what is lost ought not always to be the first thing that is said after a pause.
        """
        for connection in self.connections:
            connection.spared.setdefault(direction, spared)

    def swallow(self, word: bytes | None) -> None:
        """From here on whatever request has this word in it is lost, with its connection; None ends it."""
        self._swallowed = word

    def swallows(self, direction: Direction, data: bytes) -> bool:
        return direction == "requests" and self._swallowed is not None and self._swallowed in data

    def cut(self) -> None:
        """Resets every connection there is now."""
        for connection in list(self.connections):
            connection.reset()

    def shut(self) -> None:
        """Accepts connections and closes them at once, as a load balancer does that has nothing behind it."""
        self.is_open = False
        self.cut()

    def lead_to(self, target: str) -> None:
        """New connections go to another server; those that there are, are reset."""
        self._parts = urlsplit(target)
        self.is_open = True
        self.cut()

    def hold(self, word: bytes) -> None:
        """From here on, a request with this word in it is held back, with all that follows it on its connection.

        Whatever becomes of those who said it: a network, too, delivers what is on its way.
        """
        self._held_word = word
        self._passes.clear()

    def release(self) -> None:
        """What was held back arrives."""
        self._held_word = None
        self._passes.set()

    async def pass_on(self, direction: Direction, data: bytes) -> None:
        """Returns when this may arrive."""
        if direction == "requests" and self._held_word is not None and self._held_word in data:
            self.held += 1
            await self._passes.wait()
            self.held -= 1

    def _refuses(self) -> bool:
        self.refused += not self.is_open
        return not self.is_open

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection."""
        if self._refuses():
            writer.close()
            return
        try:
            answers, requests = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(self, writer, requests)
        if self._refuses():  # since then
            connection.reset()
            return
        self.connections.add(connection)
        await asyncio.gather(connection.pump("requests", reader, requests), connection.pump("answers", answers, writer))
        self.connections.discard(connection)


@asynccontextmanager
async def proxied(target: str) -> AsyncIterator[Proxy]:
    """A proxy on a port of its own."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await proxy.accept(reader, writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy = Proxy(target, server.sockets[0].getsockname()[1])
    try:
        yield proxy
    finally:
        server.close()
        proxy.release()
        proxy.cut()
        await asyncio.sleep(0)
