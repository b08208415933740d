"""What the query service asks of Redis: tokens, definitions, facts, and whether they can be believed."""

from collections.abc import Sequence

from msgspec import Struct
from redis.asyncio import Redis

from rotary.definitions import GroupDefinition, GroupSummary, TokenDefinition
from rotary.domain.facts import Tally
from rotary.domain.quota import days_read
from rotary.errors import UnavailableError
from rotary.redis import keys
from rotary.redis.connection import redis_answers
from rotary.redis.documents import decode_group, decode_groups, decode_token
from rotary.redis.facts import decode_facts, fact_keys
from rotary.redis.state import decode_beats, is_ready

_DEFINITIONS_MISSING = "The definitions are being rebuilt"
_FACTS_MISSING = "The projections are being rebuilt"


class FactsRead(Struct, frozen=True):
    """Facts by caller ID, and the UTC millisecond up to which the fold had caught up with the broker."""

    facts: dict[int, Tally]
    folded_until_ms: int


class Reader:
    """Reads documents and facts. Every method raises UnavailableError when Redis is away or not yet filled."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def token(self, sha256_hex: str) -> TokenDefinition | None:
        """The token with this hash, unless revoked; whether it has expired is for the caller to see."""
        document = await self._document(keys.token(sha256_hex))
        return decode_token(document) if document else None

    async def groups(self, customer: int) -> tuple[GroupSummary, ...]:
        """The customer's groups, ascending by id."""
        document = await self._document(keys.groups(customer))
        return decode_groups(document) if document else ()

    async def group(self, customer: int, group_id: int) -> GroupDefinition | None:
        """One of the customer's groups; another customer's is None, and costs the same to find out."""
        document = await self._document(keys.group(customer, group_id))
        return decode_group(document) if document else None

    async def facts(self, customer: int, callers: Sequence[int], now_ms: int) -> FactsRead:
        """The facts that matter at `now_ms` about the customer's caller IDs; no facts are an empty tally."""
        days = days_read(now_ms)
        pipeline = self._client.pipeline(transaction=False)
        pipeline.info("server")
        pipeline.get(keys.READY)
        pipeline.hgetall(keys.CONSUMERS)
        if callers:
            pipeline.mget(fact_keys(customer, callers, days))
        with redis_answers():
            server, ready, beats, *values = await pipeline.execute()
        if not is_ready(ready, server["run_id"]):
            raise UnavailableError(_FACTS_MISSING)
        facts = decode_facts(callers, days, values[0]) if callers else {}
        return FactsRead(facts, max((beat.folded_until_ms for beat in decode_beats(beats).values()), default=0))

    async def ping(self) -> None:
        """Raises UnavailableError unless Redis answers and holds complete definitions and facts."""
        await self._document(keys.EPOCH)
        await self.facts(0, (), 0)

    async def _document(self, key: str) -> bytes | None:
        pipeline = self._client.pipeline(transaction=False)
        pipeline.get(key)
        pipeline.exists(keys.DEFINITIONS)
        with redis_answers():
            document, complete = await pipeline.execute()
        if not complete:
            raise UnavailableError(_DEFINITIONS_MISSING)
        return document  # type: ignore[no-any-return]  # redis-py types a pipeline's replies as Any
