"""Many reads of Redis in one round trip, packed and sent with as little Python as there can be.

A cold read asks for four keys a member: with redis-py's packing, and its pool's checks of a connection before and after
each use, asking would cost more than answering.
"""

import re
from collections.abc import Sequence

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError

from rotary.redis.connection import redis_answers

_RUN_ID = re.compile(rb"run_id:(\w+)")


def pack(command: str, names: Sequence[str]) -> bytes:
    """A command as it goes over the wire. Its arguments are ASCII, as all of our keys are."""
    text = "".join([f"${len(name)}\r\n{name}\r\n" for name in names])
    return f"*{len(names) + 1}\r\n${len(command)}\r\n{command}\r\n{text}".encode("ascii")


RUN_ID = pack("INFO", ["server"])
"""Asks for the run id of the server process; `run_id` finds it in the reply."""


def run_id(reply: object) -> str:
    """The run id in the reply to RUN_ID."""
    text = reply if isinstance(reply, bytes) else str(reply).encode()
    found = _RUN_ID.search(text)
    assert found is not None, "INFO without a run id"
    return found[1].decode()


class RoundTrips:
    """Asks over connections of its own, as many as are needed at once, made as `client` makes its own."""

    def __init__(self, client: Redis) -> None:
        self._pool = client.connection_pool
        self._idle: list[AbstractConnection] = []

    async def ask(self, commands: Sequence[bytes]) -> list[object]:
        """Sends packed commands over one connection and returns their replies. Raises UnavailableError."""
        with redis_answers():
            while self._idle:
                try:
                    return await self._exchange(self._idle.pop(), commands)
                except RedisConnectionError:  # it was closed while it lay idle; reading twice is harmless
                    continue
            return await self._exchange(self._pool.make_connection(), commands)  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """Closes the connections that are idle."""
        while self._idle:
            await self._idle.pop().disconnect(nowait=True)

    async def _exchange(self, connection: AbstractConnection, commands: Sequence[bytes]) -> list[object]:
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's gap, as above
            await connection.send_packed_command(list(commands))
            replies = [await connection.read_response() for _ in commands]
        except BaseException:
            # Replies may still be to come: whoever used this connection next would take them for its own.
            await connection.disconnect(nowait=True)
            raise
        self._idle.append(connection)
        return replies
