"""Many reads of Redis in one round trip, packed and unpacked with as little Python as there can be.

A cold read asks for four keys a member; redis-py's own packing of them costs more than all the rest of the answer.
"""

import re
from collections.abc import Sequence

from redis.asyncio import Redis

from rotary.redis.connection import redis_answers

_RUN_ID = re.compile(rb"run_id:(\w+)")


def pack(command: str, names: Sequence[str]) -> bytes:
    """A command as it goes over the wire. Its arguments are ASCII, as all of our keys are."""
    text = "".join([f"${len(name)}\r\n{name}\r\n" for name in names])
    return f"*{len(names) + 1}\r\n${len(command)}\r\n{command}\r\n{text}".encode("ascii")


RUN_ID = pack("INFO", ["server"])
"""Asks for the run id of the server process; `run_id` finds it in the reply."""


async def ask(client: Redis, commands: Sequence[bytes]) -> list[object]:
    """Sends packed commands over one connection and returns their replies. Raises UnavailableError."""
    with redis_answers():
        connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]  # redis-py's gap
        try:
            await connection.send_packed_command(list(commands))
            return [await connection.read_response() for _ in commands]
        except BaseException:
            # Replies are still to come: whoever used this connection next would take them for its own.
            await connection.disconnect(nowait=True)
            raise
        finally:
            await client.connection_pool.release(connection)


def run_id(reply: object) -> str:
    """The run id in the reply to RUN_ID."""
    text = reply if isinstance(reply, bytes) else str(reply).encode()
    found = _RUN_ID.search(text)
    assert found is not None, "INFO without a run id"
    return found[1].decode()
