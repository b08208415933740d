"""One connection to Redis that many tasks share, with as little Python code for each command as possible.

Replies arrive in the order of the commands. Of two batches, sent one after the other without waiting for replies, Redis
runs the first before the second, or does not run the second: a lost connection fails all unanswered commands.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

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


class Pipeline:
    """Connects on first use, and again after a loss. An error reply is returned in its place, as an exception."""

    def __init__(self, client: Redis) -> None:
        self._pool = client.connection_pool
        self._seconds: float = self._pool.connection_kwargs["socket_timeout"]
        self._connection: AbstractConnection | None = None
        self._reading: asyncio.Task[None] | None = None
        self._pending: deque[_Pending] = deque()
        self._closing: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

    async def call(self, commands: Sequence[bytes]) -> list[object]:
        """Sends packed commands and returns their replies. Raises UnavailableError when Redis does not answer."""
        if not commands:
            return []
        with translate_errors():
            try:
                async with asyncio.timeout(self._seconds):
                    return await asyncio.shield(await self._send(commands))
            except TimeoutError:
                self._lose(RedisConnectionError(f"no answer within {self._seconds} s"))
                raise UnavailableError("Redis is away", f"no answer within {self._seconds} s") from None

    async def close(self) -> None:
        """Closes the connection. Unanswered commands fail."""
        self._lose(RedisConnectionError("closed"))

    async def _send(self, commands: Sequence[bytes]) -> asyncio.Future[list[object]]:
        async with self._turn:
            connection = self._connection or await self._connect()
            answered: asyncio.Future[list[object]] = asyncio.get_running_loop().create_future()
            self._pending.append((len(commands), [], answered))
            try:
                await connection.send_packed_command(commands)
            except BaseException as error:
                # Redis may have received half a command, and could not parse the next one.
                self._lose(error if isinstance(error, Exception) else RedisConnectionError("interrupted"))
                raise
            return answered

    async def _connect(self) -> AbstractConnection:
        settings = self._pool.connection_kwargs | {"socket_timeout": None}
        connection = self._pool.connection_class(**settings)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's gap
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._connection = connection
        self._reading = asyncio.create_task(self._read(connection))
        return connection

    async def _read(self, connection: AbstractConnection) -> None:
        try:
            while True:
                try:
                    reply: object = await connection.read_response()
                except ResponseError as error:
                    reply = error
                self._answer(reply)
        except (RedisConnectionError, OSError) as error:
            if connection is self._connection:
                self._lose(error)

    def _answer(self, reply: object) -> None:
        count, replies, answered = self._pending[0]
        replies.append(reply)
        if len(replies) == count:
            self._pending.popleft()
            if not answered.done():
                answered.set_result(replies)

    def _lose(self, error: Exception) -> None:
        connection, self._connection = self._connection, None
        reading, self._reading = self._reading, None
        pending, self._pending = self._pending, deque()
        for _, _, answered in pending:
            if not answered.done():
                answered.set_exception(error)
                answered.exception()  # its caller may have been cancelled
        if reading is not None and reading is not asyncio.current_task():
            reading.cancel()
        if connection is not None:
            closing = asyncio.create_task(connection.disconnect(nowait=True))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
