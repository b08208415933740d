"""One connection to Redis that many tasks share, with as little Python code for each command as possible.

Replies arrive in the order of the commands. Of two batches, sent one after the other without waiting for replies, Redis
runs the first before the second, or does not run the second: a lost connection fails all unanswered commands.

redis-py connects, with all that there is to TLS, passwords and databases. From then on replies are read from the
transport as they arrive: through redis-py's streams each costs as much as a pick does.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any, cast

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse

from rotary.errors import UnavailableError
from rotary.redis.connection import translate_errors

Argument = str | bytes | int
_Pending = tuple[int, list[object], asyncio.Future[list[object]]]


def pack(*arguments: Argument) -> bytes:
    """A command in Redis' protocol."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        value = argument if isinstance(argument, bytes) else str(argument).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(value), value))
    return b"".join(parts)


TIME = pack("TIME")
"""The command for the server's clock. `time_ms` reads the reply."""


def time_ms(reply: object) -> int:
    """The reply to TIME in milliseconds since 1970."""
    assert isinstance(reply, list)
    return int(reply[0]) * 1000 + int(reply[1]) // 1000


_INCOMPLETE = object()


class _Wire(asyncio.Protocol):
    """A connection that redis-py has made: what is written to it, and the replies as they arrive."""

    def __init__(self, pipeline: "Pipeline", connection: AbstractConnection) -> None:
        made = cast("Any", connection)  # redis-py has no other names for its transport and its errors
        self._pipeline = pipeline
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse,
            replyError=made._parser.parse_error,  # noqa: SLF001
            notEnoughData=_INCOMPLETE,
        )
        # Kept, because a writer that is collected closes its transport; taken, because the connection would, too.
        self._writer: asyncio.StreamWriter = made._writer  # noqa: SLF001
        made._reader = made._writer = None  # noqa: SLF001
        self._transport = self._writer.transport
        self._transport.set_protocol(self)
        self._writable: asyncio.Future[None] | None = None
        self.is_paused = False

    def write(self, commands: Sequence[bytes]) -> None:
        """Sends commands, at some time."""
        self._transport.write(commands[0] if len(commands) == 1 else b"".join(commands))

    async def writable(self) -> None:
        """Waits until what was written has been sent, nearly. Raises RedisConnectionError if it never is."""
        while self.is_paused:
            self._writable = self._writable or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._writable)

    def close(self) -> None:
        """Closes the connection at once. What has not been sent is not."""
        self._free(RedisConnectionError("closed"))
        if self._transport.get_write_buffer_size():
            self._transport.abort()
        self._writer.close()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _INCOMPLETE:
                if isinstance(reply, RedisConnectionError):
                    raise reply  # the server is about to go, or is loading its data
                if not isinstance(reply, hiredis.PushNotification):
                    self._pipeline.answer(self, reply)
        except (RedisConnectionError, InvalidResponse) as error:
            self._pipeline.lose(error, self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        error = exc or RedisConnectionError("Connection closed by server.")
        self._free(error)
        self._pipeline.lose(error, self)

    def pause_writing(self) -> None:
        """Called by the event loop when the server does not take what is written."""
        self.is_paused = True

    def resume_writing(self) -> None:
        """Called by the event loop."""
        self._free(None)

    def _free(self, error: Exception | None) -> None:
        self.is_paused = False
        waiting, self._writable = self._writable, None
        if waiting is None or waiting.done():
            return
        if error is None:
            waiting.set_result(None)
        else:
            waiting.set_exception(error)
            waiting.exception()  # nobody may be left to hear it


class Pipeline:
    """Connects on first use, and again after a loss. An error reply is returned in its place, as an exception."""

    def __init__(self, client: Redis) -> None:
        self._pool = client.connection_pool
        self._seconds: float = self._pool.connection_kwargs["socket_timeout"]
        self._wire: _Wire | None = None
        self._pending: deque[_Pending] = deque()
        self._turn = asyncio.Lock()
        self._in_turn = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def call(self, commands: Sequence[bytes]) -> Coroutine[None, None, list[object]]:
        """Sends packed commands and returns their replies. Raises UnavailableError when Redis does not answer.

        They are sent at once, before anybody waits for the replies, if nothing has to be waited for before.
        """
        wire = self._wire
        if wire is None or wire.is_paused or self._in_turn or not commands:
            return self._call_in_turn(commands)
        loop = self._loop = self._loop or asyncio.get_running_loop()
        return self._replies(self._write(wire, commands, loop), loop)

    async def close(self) -> None:
        """Closes the connection. Unanswered commands fail."""
        self.lose(RedisConnectionError("closed"))

    async def _replies(self, answered: asyncio.Future[list[object]], loop: asyncio.AbstractEventLoop) -> list[object]:
        giving_up = loop.call_later(self._seconds, self._give_up, answered)
        try:
            return await answered
        except Exception:
            with translate_errors():
                raise
        finally:
            giving_up.cancel()

    async def _call_in_turn(self, commands: Sequence[bytes]) -> list[object]:
        """Waits for a connection, or for room in it, behind whoever waits already."""
        if not commands:
            return []
        self._in_turn += 1
        with translate_errors():
            try:
                async with asyncio.timeout(self._seconds):
                    try:
                        async with self._turn:
                            wire = self._wire or await self._connect()
                            await wire.writable()
                            if wire is not self._wire:
                                raise RedisConnectionError("lost while waiting for room")
                            answered = self._write(wire, commands, asyncio.get_running_loop())
                    finally:
                        self._in_turn -= 1
                    return await answered
            except TimeoutError:
                self.lose(self._silence())
                raise UnavailableError("Redis is away", str(self._silence())) from None

    def _write(
        self, wire: _Wire, commands: Sequence[bytes], loop: asyncio.AbstractEventLoop
    ) -> asyncio.Future[list[object]]:
        answered: asyncio.Future[list[object]] = loop.create_future()
        self._pending.append((len(commands), [], answered))
        wire.write(commands)
        return answered

    async def _connect(self) -> _Wire:
        settings = self._pool.connection_kwargs | {"socket_timeout": None}
        connection = self._pool.connection_class(**settings)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's gap
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._wire = _Wire(self, connection)
        return self._wire

    def answer(self, wire: _Wire, reply: object) -> None:
        """Called by the connection with each reply."""
        if wire is not self._wire:
            return
        count, replies, answered = self._pending[0]
        replies.append(reply)
        if len(replies) == count:
            self._pending.popleft()
            if not answered.done():  # else its caller has gone away
                answered.set_result(replies)

    def lose(self, error: Exception, wire: _Wire | None = None) -> None:
        """Called by a connection that is lost, or without one by whoever gives up the current one."""
        if wire is not None and wire is not self._wire:
            return
        lost, self._wire = self._wire, None
        pending, self._pending = self._pending, deque()
        for _, _, answered in pending:
            if not answered.done():
                answered.set_exception(error)
                answered.exception()  # its caller may have been cancelled
        if lost is not None:
            lost.close()

    def _give_up(self, answered: asyncio.Future[list[object]]) -> None:
        if not answered.done():
            self.lose(self._silence())

    def _silence(self) -> RedisConnectionError:
        return RedisConnectionError(f"no answer within {self._seconds} s")
