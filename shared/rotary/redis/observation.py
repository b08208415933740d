"""Reading whole customers: their definitions, and facts with the word on how old they are.

For those who look at a customer now and then; the query service has its own way, which answers thousands of requests.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from msgspec import Struct
from redis.asyncio import Redis

from rotary.definitions import GroupDefinition
from rotary.domain.facts import CallerFacts
from rotary.domain.quota import days_read
from rotary.errors import UnavailableError
from rotary.redis import keys
from rotary.redis.connection import translate_errors
from rotary.redis.documents import DEFINITIONS_FIELDS, REBUILDING, UnknownSchemaError, decode_group, is_complete
from rotary.redis.facts import decode_facts, fact_keys
from rotary.redis.positions import CURRENT_MS, FIELD, decode_bucket_status

CALLERS_AT_ONCE = 1_000


class NotCurrentError(UnavailableError):
    """The facts are not current, or not complete: what they lack would look like something that ended."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class Observed(Struct, frozen=True):
    """Facts of some caller IDs, current as of `now_ms`, by Redis' clock."""

    facts: Mapping[int, CallerFacts]
    now_ms: int


class Observer:
    """Reads customers. Every method raises UnavailableError."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._newest: dict[int, bytes] = {}

    async def group_ids(self, customer: int) -> list[int]:
        """The ids of the customer's groups, ascending."""
        [ids] = await self._defined(customer, [("SMEMBERS", keys.group_ids(customer))])
        return sorted(map(int, cast("set[bytes]", ids)))

    async def groups(self, customer: int, ids: Sequence[int]) -> dict[int, GroupDefinition | None]:
        """These groups of a customer; None for one that does not exist."""
        documents = await self._defined(customer, [("GET", keys.group(customer, row)) for row in ids])
        try:
            return {
                row: None if document is None else decode_group(cast("bytes", document))
                for row, document in zip(ids, documents, strict=True)
            }
        except UnknownSchemaError as error:
            raise NotCurrentError(error.what) from None

    async def _defined(self, customer: int, commands: Sequence[tuple[str, str]]) -> list[object]:
        """The replies to these commands. Raises NotCurrentError unless the customer's definitions are current."""
        bucket = keys.bucket_of(customer)
        with translate_errors():
            async with self._client.pipeline(transaction=True) as pipeline:
                pipeline.hmget(keys.definitions(bucket), list(DEFINITIONS_FIELDS))
                for command in commands:
                    pipeline.execute_command(*command)
                fields, *replies = await pipeline.execute()
        complete, newest = fields
        if not is_complete(complete, newest, self._newest.get(bucket, b"")):
            raise NotCurrentError(REBUILDING)
        self._newest[bucket] = newest
        return replies

    async def facts(self, customer: int, callers: Sequence[int]) -> Observed:
        """The facts of caller IDs of a customer's, at least one. Raises NotCurrentError unless they are current."""
        facts: dict[int, CallerFacts] = {}
        now_ms = 0
        for some in slices(callers, CALLERS_AT_ONCE):
            found, now_ms = await self._facts(customer, some)
            facts |= found
        return Observed(facts, now_ms)

    async def _facts(self, customer: int, callers: Sequence[int]) -> tuple[dict[int, CallerFacts], int]:
        bucket = keys.bucket_of(customer)
        with translate_errors():
            async with self._client.pipeline(transaction=False) as pipeline:
                pipeline.get(keys.generation(bucket))
                pipeline.time()
                said, time = await pipeline.execute()
            generation, days = int(said or 0), list(days_read(_ms(time)))
            async with self._client.pipeline(transaction=True) as pipeline:
                pipeline.hget(keys.position(bucket, generation), FIELD)
                pipeline.get(keys.generation(bucket))
                pipeline.time()
                pipeline.mget(fact_keys(customer, callers, days, generation))
                said, current, time, values = await pipeline.execute()
        now_ms = _ms(time)
        status = decode_bucket_status(said)
        if int(current or 0) != generation:
            raise NotCurrentError("The projections were rebuilt just now")
        if reason := status.refusal(now_ms):
            raise NotCurrentError(reason)
        if status.age_ms(now_ms) > CURRENT_MS:
            raise NotCurrentError("The facts are behind the log")
        return decode_facts(callers, days, cast("list[bytes | None]", values)), now_ms


def _ms(time: tuple[int, int]) -> int:
    return int(time[0]) * 1000 + int(time[1]) // 1000


def slices(rows: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """The rows in order, so many at once."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
