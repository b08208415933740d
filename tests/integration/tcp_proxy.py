"""A TCP proxy in the test's own event loop that loses connections, or their answers, when told to."""

import asyncio
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit


async def close_server(server: asyncio.Server) -> None:
    """Closes it once what it has accepted has begun: asyncio would leave such a connection open, and nobody's."""
    loop = asyncio.get_running_loop()
    for listening in server.sockets:
        loop.remove_reader(listening)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    server.close()


class TcpProxy:
    """`url` is the target's, by way of the proxy."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self._ends: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._answering = asyncio.Event()
        self._answering.set()
        self._server: asyncio.Server | None = None
        self._is_cut = True
        self._port = 0
        self._last = b""
        self._noticed: list[tuple[bytes, asyncio.Event]] = []
        self._swallowed: set[bytes] = set()
        self.accepted = 0
        """Connections so far."""

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        login = self._target.netloc.rpartition("@")[0]
        return self._target._replace(netloc=f"{login}@127.0.0.1:{self._port}").geturl()

    async def mend(self) -> None:
        """Accepts connections (again, on the same port) and lets answers through."""
        self._answering.set()
        self._is_cut = False
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
            self._port = self._server.sockets[0].getsockname()[1]

    async def drop(self) -> None:
        """Resets every connection; new ones are welcome."""
        for end in self._ends:
            end.transport.abort()
        self._answering.set()

    async def cut(self) -> None:
        """Resets every connection and refuses new ones."""
        self._is_cut = True
        if self._server is not None:
            server, self._server = self._server, None
            await close_server(server)
        await self.drop()

    def silence(self) -> None:
        """Holds back what the target answers; what it is sent still reaches it."""
        self._answering.clear()

    def notice(self, answer: bytes) -> asyncio.Event:
        """Set once the target answers this."""
        event = asyncio.Event()
        self._noticed.append((answer, event))
        return event

    def swallow(self, answer: bytes) -> None:
        """Loses this the next time that the target answers it, and it alone."""
        self._swallowed.add(answer)

    @property
    def port(self) -> int:
        return self._port

    def silence_after(self, answer: bytes) -> None:
        """Holds back what the target answers from the next time that it answers this."""
        self._last = answer

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Not a coroutine: one that is cancelled before it begins would leave the connection open for good."""
        if self._is_cut:
            writer.transport.abort()
            return
        self.accepted += 1
        self._ends.add(writer)
        # The proxy may end before the target has answered.
        self._tasks.add(asyncio.create_task(self._pass_on(reader, writer)))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = {writer}
        try:
            there, onward = await asyncio.open_connection(self._target.hostname, self._target.port)
            ends.add(onward)
            self._ends.add(onward)
            both = (self._copy(reader, onward, held=False), self._copy(there, writer, held=True))
            tasks = [asyncio.create_task(copy) for copy in both]
            self._tasks.update(tasks)
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.transport.abort()
            self._ends -= ends

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, held: bool) -> None:
        try:
            while data := await reader.read(65_536):
                if held:
                    await self._answering.wait()
                    data = self._without_swallowed(data)
                writer.write(data)
                await writer.drain()
                if held:
                    self._look_at(data)
        except OSError:
            return

    def _look_at(self, answer: bytes) -> None:
        for part, event in self._noticed:
            if part in answer:
                event.set()
        if self._last and self._last in answer:
            self._last = b""
            self.silence()

    def _without_swallowed(self, answer: bytes) -> bytes:
        for part in [part for part in self._swallowed if part in answer]:
            self._swallowed.discard(part)
            answer = answer.replace(part, b"", 1)
        return answer
