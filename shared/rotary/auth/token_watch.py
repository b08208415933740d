"""Keeps the cache of tokens current, for a service that caches nothing else."""

from collections.abc import Sequence
from typing import cast

from msgspec import MsgspecError
from redis.asyncio import Redis

from rotary.auth.change_watch import ChangeWatch
from rotary.auth.tokens import Tokens
from rotary.redis.changes import TokensChanged, decode_change
from rotary.redis.connection import raise_if_unavailable
from rotary.redis.pipeline import Pipeline
from rotary.redis.versions import ASK, TOKENS, Versions

_TOKENS_CHANGED = b"\x92\xa6tokens"
"""The first bytes of a message about tokens. Others are frequent, and are not decoded."""


class TokenWatch(ChangeWatch):
    """Opens the cache of tokens while every change is heard, and closes it on any gap."""

    def __init__(self, client: Redis, pipeline: Pipeline, tokens: Tokens, known: Versions, program: str) -> None:
        super().__init__(client, program)
        self._pipeline = pipeline
        self._tokens = tokens
        self._versions = known

    async def poll(self) -> None:
        """Reads the tokens' version."""
        mark = self._versions.mark(TOKENS)
        [fields] = await self._pipeline.call([ASK[TOKENS]])
        raise_if_unavailable(fields)
        self._versions.read(TOKENS, cast("Sequence[bytes | None]", fields), mark)

    def hear(self, data: bytes) -> None:
        """Applies a message of the change channel, if it is about tokens."""
        if not data.startswith(_TOKENS_CHANGED):
            return
        try:
            change = decode_change(data)
        except MsgspecError as error:
            self._log.warning("change not understood", reason=str(error))
            self._tokens.empty()
        else:
            if isinstance(change, TokensChanged):
                self._tokens.forget(change.hashes)

    def opened(self) -> None:
        """Called when tokens may be cached."""
        self._tokens.open()

    def closed(self) -> None:
        """Called when changes may be missed."""
        self._tokens.close()
