"""Rate limits that replicas share: each reserves hits of a token's 60 s window and reports the hits that it used.

The Redis user of the caller needs `+fcall +function|load +get +set +del +time` on `~{limit:*`.
"""

from collections.abc import Sequence
from importlib.resources import files
from typing import cast

from msgspec import Struct
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from rotary.redis.connection import is_function_missing, raise_if_unavailable, translate_errors

HELD_MS = 5_000
"""How long a replica may use its reserved hits. The function counts them for 60 s longer."""
_FUNCTION = "rotary_reserve_1"


class Reserve(Struct, frozen=True):
    """A replica's report and request for one token. Repeating it after a lost reply counts `made` twice."""

    sha256_hex: str
    limit: int
    made: int
    """Hits made since the last call."""
    age_ms: int
    """Milliseconds since the last of them."""
    kept: int
    """Hits reserved earlier that are not made yet and are kept."""
    wanted: int
    """Hits wanted in addition to those."""


class Reserved(Struct, frozen=True, array_like=True):
    """The answer: the hits that the replica holds now, and the other hits that count."""

    held: int
    counted: int
    frees_in_ms: int
    """Milliseconds until the oldest counted hit stops counting."""


def limit_key(sha256_hex: str) -> str:
    """The key of a token's window, msgpack. It expires."""
    return f"{{limit:{sha256_hex}}}"


class RateLimitStore:
    """The shared windows. `replica` names this replica, and is unique among processes and starts."""

    def __init__(self, client: Redis, replica: str) -> None:
        self._client = client
        self._replica = replica
        self.server_ms: int | None = None
        """The time that the function uses instead of the server's clock. Only tests set it."""

    async def reserve(self, asked: Sequence[Reserve]) -> list[Reserved]:
        """Reserves for all tokens in one round trip. Raises UnavailableError."""
        with translate_errors():
            replies = await self._pipeline(asked).execute(raise_on_error=False)
            if any(is_function_missing(reply) for reply in replies):
                await load_rate_limits(self._client)
                replies = await self._pipeline(asked).execute(raise_on_error=False)
        for reply in replies:
            raise_if_unavailable(reply)
        return [Reserved(*reply) for reply in cast("list[list[int]]", replies)]

    def _pipeline(self, asked: Sequence[Reserve]) -> Pipeline:
        pipeline = self._client.pipeline(transaction=False)
        now = "" if self.server_ms is None else self.server_ms
        for one in asked:
            arguments = (one.limit, one.made, one.age_ms, one.kept, one.wanted, now)
            pipeline.fcall(_FUNCTION, 1, limit_key(one.sha256_hex), self._replica, *arguments)
        return pipeline


async def load_rate_limits(client: Redis) -> None:
    """Loads this version's function. Repeating it changes nothing."""
    code = files("rotary.redis").joinpath("functions/rate_limits.lua").read_text()
    with translate_errors():
        await client.function_load(code, replace=True)
