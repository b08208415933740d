"""Many reads of Redis in one round trip, packed, sent and parsed with as little Python code as possible.

A cold read has three or four keys for each member. redis-py's packing, its checks of pooled connections and its call
for each reply would cost more than all other work on a request.
"""

import asyncio
from collections.abc import Iterable, Sequence
from functools import lru_cache

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError

from rotary.errors import UnavailableError
from rotary.redis.connection import raise_if_unavailable, translate_errors
from rotary.redis.facts import fact_keys
from rotary.redis.pipeline import pack

_INCOMPLETE = object()
"""The parser returns it for an incomplete reply."""


def pack_fact_keys(groups: Iterable[tuple[int, Sequence[int]]], days: tuple[int, ...], generation: int) -> bytes:
    """The packed command MGET of the `fact_keys` of each (customer, callers), built in a tenth of the time."""
    bulks: list[str] = []
    for customer, callers in groups:
        around = _around_callers(customer, days, generation)
        bulks += [(text := str(caller)).join(around[len(text)]) for caller in callers]
    return f"*{1 + (1 + len(days)) * len(bulks)}\r\n$4\r\nMGET\r\n{''.join(bulks)}".encode("ascii")


def _bulk(text: str) -> str:
    return f"${len(text)}\r\n{text}\r\n"


class _AroundCallers(dict[int, list[str]]):
    """The texts that `pack_fact_keys` puts before, between and after a caller ID, by its number of digits."""

    def __init__(self, customer: int, days: tuple[int, ...], generation: int) -> None:
        self._asked = customer, days, generation

    def __missing__(self, digits: int) -> list[str]:
        customer, days, generation = self._asked
        sample = 10 ** (digits - 1)
        names = fact_keys(customer, [sample], days, generation)
        # The first `:<digits>` is the caller ID, because the customer comes before the first colon.
        around = "".join([_bulk(name).replace(f":{sample}", ":\0", 1) for name in names]).split("\0")
        self[digits] = around
        return around


@lru_cache(maxsize=4096)
def _around_callers(customer: int, days: tuple[int, ...], generation: int) -> _AroundCallers:
    return _AroundCallers(customer, days, generation)


MULTI = pack("MULTI")
EXEC = pack("EXEC")


class Wire(asyncio.Protocol):
    """Takes over an open connection of redis-py. It has one exchange at a time.

    It parses replies as they arrive, without a stream and without an await for each reply.
    """

    def __init__(self, connection: AbstractConnection) -> None:
        writer, parse_error = connection._writer, connection._parser.parse_error  # noqa: SLF001  # see above
        assert writer is not None
        # Without reader and writer, redis-py can't close the connection. A collected writer would close it.
        connection._writer = connection._reader = None  # noqa: SLF001
        self._writer = writer
        self._transport = writer.transport
        self._parser = hiredis.Reader(
            protocolError=RedisConnectionError, replyError=parse_error, notEnoughData=_INCOMPLETE
        )
        self._loop = asyncio.get_running_loop()
        self._wanted = 0
        self._replies: list[object] = []
        self._answered: asyncio.Future[list[object]] | None = None
        self._is_lost = False
        self._transport.set_protocol(self)

    async def ask(self, commands: Sequence[bytes], deadline: float) -> list[object]:
        """Sends packed commands and returns their replies. An error reply is returned as an exception.

        Raises ConnectionError, or TimeoutError at `deadline` of the event loop's clock. An error or a cancellation
        closes the connection, because a late reply would be taken for one of the next exchange.
        """
        if self._is_lost:
            raise RedisConnectionError("the connection was closed")
        self._wanted, self._replies = len(commands), []
        answered: asyncio.Future[list[object]] = self._loop.create_future()
        self._answered = answered
        timer = self._loop.call_at(deadline, self._fail, TimeoutError())
        try:
            self._transport.write(b"".join(commands))
            return await answered
        except BaseException:
            self.close()
            raise
        finally:
            timer.cancel()
            self._answered = None

    def close(self) -> None:
        """Closes the connection."""
        self._is_lost = True
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        replies, next_reply = self._replies, self._parser.gets
        try:
            self._parser.feed(data)
            while (reply := next_reply()) is not _INCOMPLETE:
                replies.append(reply)
        except RedisConnectionError as error:
            self._fail(error)
            return
        if len(replies) >= self._wanted and self._answered is not None and not self._answered.done():
            self._answered.set_result(replies)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self._is_lost = True
        self._fail(RedisConnectionError(f"the connection was lost: {exc}" if exc else "the connection was closed"))

    def _fail(self, error: Exception) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error)


class RoundTrips:
    """Sends commands over its own connections, one for each exchange in flight, with the settings of `client`.

    The timeout applies to a whole exchange. In redis-py it applies to each reply.
    """

    def __init__(self, client: Redis) -> None:
        self._pool = client.connection_pool
        self._seconds: float = self._pool.connection_kwargs["socket_timeout"]
        self._idle: list[Wire] = []

    async def ask(self, commands: Sequence[bytes]) -> list[object]:
        """Sends packed commands over one connection and returns their replies.

        Raises UnavailableError, or the first error among the replies.
        """
        with translate_errors():
            replies = await self._ask(commands)
        for reply in replies:
            if isinstance(reply, Exception):
                raise_if_unavailable(reply)
        return replies

    async def transact(self, transactions: Sequence[Sequence[bytes]]) -> list[list[object]]:
        """Sends transactions in one round trip. Returns the replies of each.

        Raises UnavailableError, or the first error among the replies.
        """
        replies = await self.ask([part for commands in transactions for part in (MULTI, *commands, EXEC)])
        executed, at = list[list[object]](), -1
        for commands in transactions:
            at += len(commands) + 2
            result = replies[at]
            assert isinstance(result, list)
            for reply in result:
                if isinstance(reply, Exception):
                    raise_if_unavailable(reply)
            executed.append(result)
        return executed

    async def close(self) -> None:
        """Closes the idle connections."""
        while self._idle:
            self._idle.pop().close()

    async def _ask(self, commands: Sequence[bytes]) -> list[object]:
        deadline = asyncio.get_running_loop().time() + self._seconds
        try:
            while self._idle:
                try:
                    return await self._exchange(self._idle.pop(), commands, deadline)
                except RedisConnectionError:  # it was closed while idle; a read may be repeated
                    continue
            return await self._exchange(await self._connect(deadline), commands, deadline)
        except TimeoutError:
            raise UnavailableError("Redis is away", f"no answer within {self._seconds} s") from None

    async def _connect(self, deadline: float) -> Wire:
        connection = self._pool.connection_class(**self._pool.connection_kwargs)
        try:
            async with asyncio.timeout_at(deadline):
                await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's gap
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return Wire(connection)

    async def _exchange(self, wire: Wire, commands: Sequence[bytes], deadline: float) -> list[object]:
        replies = await wire.ask(commands, deadline)
        self._idle.append(wire)
        return replies
