"""Definition documents put straight into Redis, as the projector writes them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from redis.asyncio import Redis

from rotary.definitions import GroupDefinition, GroupSummary, TokenDefinition
from rotary.policy import DEFAULT_POLICY
from rotary.redis import keys
from rotary.redis.definition_writer import Round
from rotary.redis.documents import PARTS, part_of

VERSION = f"{1:08x}{1:016x}{0:04x}"
"""What is written under where nothing else was written before."""


class Documents:
    """Writes documents under the version that is stored, so that a projector beside it is not in the way."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def complete(self, version: str = VERSION) -> None:
        """Says that the definitions of every bucket, and the tokens, are complete."""
        async with self._client.pipeline(transaction=True) as pipeline:
            for part in PARTS:
                pipeline.hset(part, mapping={"complete": "1", "newest": version, "version": version, "as_of": "0"})
            await pipeline.execute()

    async def put_groups(
        self, customer: int, groups: Sequence[GroupDefinition], summaries: Sequence[GroupSummary]
    ) -> None:
        """Writes groups; `summaries` are all there are, and others are removed."""
        stored = cast("bytes | None", await self._client.hget(keys.customer(customer), "version"))
        writing = Round(self._client, stored.decode() if stored else VERSION)
        await writing.begin([part_of(customer)])
        allowance = DEFAULT_POLICY.unknown_caller_ids_per_day
        callers = sorted({member.id for group in groups for member in group.members})
        await writing.change_customer(customer, allowance, summaries, groups, callers, [])
        await writing.flush()
        assert not writing.refused

    async def put_tokens(self, tokens: Mapping[str, TokenDefinition], gone: Iterable[str]) -> None:
        """Writes tokens and revokes those gone, by their SHA-256 in hex."""
        writing = Round(self._client, VERSION)
        await writing.begin([keys.TOKEN_DEFINITIONS])
        await writing.put_tokens(tokens, gone)
        await writing.flush()
        assert not writing.refused
