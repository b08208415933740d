"""Rate limits that several replicas share: each reserves hits from a token's 60 s window and reports what it used.

The Redis user of whoever calls this needs `+fcall +function|load +get +set +del +time` on `~{limit:*`.
"""

from collections.abc import Sequence
from importlib.resources import files
from typing import cast

from msgspec import Struct
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import ResponseError

from rotary.redis.connection import raise_if_unavailable, translate_errors

HELD_MS = 5_000
"""How long after asking a replica may use what it was granted. The function counts it for 60 s longer."""
_FUNCTION = "rotary_reserve_1"


class Reserve(Struct, frozen=True):
    """What a replica says and asks for one token. Repeating it after a lost reply counts `made` twice, never less."""

    sha256_hex: str
    limit: int
    made: int
    """Hits made since the last call."""
    age_ms: int
    """Milliseconds since the last of them."""
    kept: int
    """Hits granted earlier that are not made yet and are kept."""
    wanted: int
    """Hits wanted besides those."""


class Reserved(Struct, frozen=True, array_like=True):
    """The answer: how many hits the replica holds now, and how many others count besides."""

    held: int
    counted: int
    frees_in_ms: int
    """Until the oldest hit counted stops counting."""


def limit_key(sha256_hex: str) -> str:
    """A token's window, msgpack; it expires by itself."""
    return f"{{limit:{sha256_hex}}}"


class RateLimitStore:
    """The shared windows, as one replica sees them. `replica` names it, unique among processes and starts."""

    def __init__(self, client: Redis, replica: str) -> None:
        self._client = client
        self._replica = replica
        self.server_ms: int | None = None
        """The time to give to the function instead of the server's own: for tests."""

    async def reserve(self, asked: Sequence[Reserve]) -> list[Reserved]:
        """Answers all in one round trip. Raises UnavailableError."""
        with translate_errors():
            replies = await self._pipeline(asked).execute(raise_on_error=False)
            if any(_is_missing(reply) for reply in replies):
                await load_rate_limits(self._client)
                replies = await self._pipeline(asked).execute(raise_on_error=False)
        for reply in replies:
            raise_if_unavailable(reply)
        return [Reserved(*reply) for reply in cast("list[list[int]]", replies)]

    def _pipeline(self, asked: Sequence[Reserve]) -> Pipeline:
        pipeline = self._client.pipeline(transaction=False)
        now = "" if self.server_ms is None else self.server_ms
        for one in asked:
            said = (one.limit, one.made, one.age_ms, one.kept, one.wanted, now)
            pipeline.fcall(_FUNCTION, 1, limit_key(one.sha256_hex), self._replica, *said)
        return pipeline


async def load_rate_limits(client: Redis) -> None:
    """Puts this version's function on the server; harmless to repeat."""
    code = files("rotary.redis").joinpath("functions/rate_limits.lua").read_text()
    with translate_errors():
        await client.function_load(code, replace=True)


def _is_missing(reply: object) -> bool:
    return isinstance(reply, ResponseError) and str(reply).startswith("Function not found")
