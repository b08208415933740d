"""Many reads of Redis in one round trip, packed and sent with as little Python as there can be.

A cold read asks for three or four keys a member: with redis-py's packing, and its pool's checks of a connection before
and after each use, asking would cost more than answering.
"""

import asyncio
from collections.abc import Iterable, Sequence
from functools import lru_cache

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError

from rotary.errors import UnavailableError
from rotary.redis.connection import raise_if_unavailable, translate_errors
from rotary.redis.facts import fact_keys


def pack(command: str, names: Sequence[str]) -> bytes:
    """A command as it goes over the wire. Its arguments are ASCII, as all of our keys are."""
    return _packed(command, len(names), map(_bulk, names))


def pack_fact_keys(customer: int, callers: Sequence[int], days: tuple[int, ...], generation: int) -> bytes:
    """The same as MGET of `fact_keys`, in a tenth of the time."""
    around = _around_callers(customer, days, generation)
    return _packed("MGET", (1 + len(days)) * len(callers), [text.join(around[len(text)]) for text in map(str, callers)])


def _packed(command: str, arguments: int, bulks: Iterable[str]) -> bytes:
    return f"*{1 + arguments}\r\n{_bulk(command)}{''.join(bulks)}".encode("ascii")


def _bulk(text: str) -> str:
    return f"${len(text)}\r\n{text}\r\n"


class _AroundCallers(dict[int, list[str]]):
    """What `pack_fact_keys` says before, between and after a caller ID, by how many digits that has."""

    def __init__(self, customer: int, days: tuple[int, ...], generation: int) -> None:
        self._asked = customer, days, generation

    def __missing__(self, digits: int) -> list[str]:
        customer, days, generation = self._asked
        sample = 10 ** (digits - 1)
        names = fact_keys(customer, [sample], days, generation)
        # The caller ID is what follows the first colon that a digit follows: a customer stands before its first colon.
        around = "".join([_bulk(name).replace(f":{sample}", ":\0", 1) for name in names]).split("\0")
        self[digits] = around
        return around


@lru_cache(maxsize=4096)
def _around_callers(customer: int, days: tuple[int, ...], generation: int) -> _AroundCallers:
    return _AroundCallers(customer, days, generation)


MULTI = pack("MULTI", [])
EXEC = pack("EXEC", [])
TIME = pack("TIME", [])
"""Asks for the server's clock; `redis_ms` reads the reply."""


def redis_ms(reply: object) -> int:
    """The reply to TIME in milliseconds since 1970."""
    assert isinstance(reply, list)
    return int(reply[0]) * 1000 + int(reply[1]) // 1000


class RoundTrips:
    """Asks over connections of its own, as many as are needed at once, made as `client` makes its own.

    Except that one clock runs for a whole exchange, where theirs would be wound up for each reply.
    """

    def __init__(self, client: Redis) -> None:
        self._pool = client.connection_pool
        self._seconds: float | None = self._pool.connection_kwargs["socket_timeout"]
        self._idle: list[AbstractConnection] = []

    async def ask(self, commands: Sequence[bytes]) -> list[object]:
        """Sends packed commands over one connection and returns their replies. Raises UnavailableError."""
        with translate_errors():
            while self._idle:
                try:
                    return await self._exchange(self._idle.pop(), commands)
                except RedisConnectionError:  # it was closed while it lay idle; reading twice is harmless
                    continue
            return await self._exchange(self._connection(), commands)

    async def transact(self, transactions: Sequence[Sequence[bytes]]) -> list[list[object]]:
        """Sends transactions, all in one round trip: nothing happens between the commands of any one of them.

        Returns the replies of each. Raises UnavailableError, or the first error that a command was answered with.
        """
        replies = await self.ask([part for commands in transactions for part in (MULTI, *commands, EXEC)])
        executed, at = list[list[object]](), -1
        for commands in transactions:
            at += len(commands) + 2
            result = replies[at]
            assert isinstance(result, list)
            for reply in result:
                raise_if_unavailable(reply)
            executed.append(result)
        return executed

    async def close(self) -> None:
        """Closes the connections that are idle."""
        while self._idle:
            await self._idle.pop().disconnect(nowait=True)

    def _connection(self) -> AbstractConnection:
        settings = self._pool.connection_kwargs | {"socket_timeout": None}
        return self._pool.connection_class(**settings)

    async def _exchange(self, connection: AbstractConnection, commands: Sequence[bytes]) -> list[object]:
        try:
            async with asyncio.timeout(self._seconds):
                await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's gap
                await connection.send_packed_command(commands)
                replies = [await connection.read_response() for _ in commands]
        except TimeoutError:
            await connection.disconnect(nowait=True)
            raise UnavailableError("Redis is away", f"no answer within {self._seconds} s") from None
        except BaseException:
            # Replies may still be to come: whoever used this connection next would take them for its own.
            await connection.disconnect(nowait=True)
            raise
        self._idle.append(connection)
        return replies
