"""Definition documents: written by the projector, read by the query service."""

from collections.abc import AsyncIterator, Iterable, Sequence

import msgspec
from redis.asyncio import Redis

from rotary.definitions import GroupDefinition, GroupSummary, TokenDefinition
from rotary.redis import keys
from rotary.redis.connection import redis_answers, run_id

_encode = msgspec.msgpack.Encoder().encode
decode_group = msgspec.msgpack.Decoder(GroupDefinition).decode
decode_groups = msgspec.msgpack.Decoder(tuple[GroupSummary, ...]).decode
decode_token = msgspec.msgpack.Decoder(TokenDefinition).decode


class DocumentWriter:
    """Writes documents and announces each, so that whoever mirrors it forgets its copy."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def put_groups(
        self, customer: int, groups: Iterable[GroupDefinition], gone: Iterable[int], summaries: Sequence[GroupSummary]
    ) -> None:
        """Writes the groups given, removes those gone and replaces the customer's list, in one transaction."""
        pipeline = self._client.pipeline(transaction=True)
        touched = []
        for group in groups:
            pipeline.set(keys.group(customer, group.id), _encode(group))
            touched.append(group.id)
        for group_id in gone:
            pipeline.delete(keys.group(customer, group_id))
            touched.append(group_id)
        if summaries:
            pipeline.set(keys.groups(customer), _encode(summaries))
        else:
            pipeline.delete(keys.groups(customer))
        pipeline.publish(keys.CHANGES_CHANNEL, _encode(("groups", str(customer), touched)))
        with redis_answers():
            await pipeline.execute()

    async def put_tokens(self, tokens: dict[str, TokenDefinition], gone: Iterable[str]) -> None:
        """Writes the tokens' documents and removes those gone, all by the SHA-256 of the token in hex."""
        pipeline = self._client.pipeline(transaction=False)
        touched = list(tokens)
        for sha256, token in tokens.items():
            pipeline.set(keys.token(sha256), _encode(token))
        for sha256 in gone:
            pipeline.delete(keys.token(sha256))
            touched.append(sha256)
        pipeline.publish(keys.CHANGES_CHANNEL, _encode(("tokens", touched)))
        with redis_answers():
            await pipeline.execute()

    async def stored_groups(self, customer: int) -> set[int]:
        """The ids of the groups that the customer's list names."""
        with redis_answers():
            document = await self._client.get(keys.groups(customer))
        assert not isinstance(document, str)
        return {group.id for group in decode_groups(document)} if document else set()

    async def stored(self) -> tuple[dict[int, set[int]], set[str]]:
        """Everything that has a document: group ids by customer, and tokens' SHA-256."""
        groups: dict[int, set[int]] = {}
        async for name in self._scan("{*}:group*"):
            customer, _, rest = name[1:].partition("}:")
            found = groups.setdefault(int(customer), set())
            if rest != "groups":
                found.add(int(rest.rpartition(":")[2]))
        return groups, {name.removeprefix("token:") async for name in self._scan("token:*")}

    async def _scan(self, pattern: str) -> AsyncIterator[str]:
        with redis_answers():
            async for name in self._client.scan_iter(match=pattern, count=1000):
                yield name.decode()

    async def server(self) -> str:
        """The run id of the server process that documents are written to."""
        return await run_id(self._client)

    async def complete(self, run_id: str) -> None:
        """Says that the server process `run_id` has every document: until then readers answer 503 rather than 404."""
        with redis_answers():
            await self._client.set(keys.DEFINITIONS, run_id)

    async def is_complete(self) -> bool:
        """Whether the server that answers is the one that was filled, and has not lost it since."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.info("server")
        pipeline.get(keys.DEFINITIONS)
        with redis_answers():
            server, filled = await pipeline.execute()
        return bool(filled == server["run_id"].encode())
