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
from rotary.redis.documents import DEFINITIONS_FIELDS, REBUILDING, decode_group, is_complete
from rotary.redis.facts import decode_facts, fact_keys
from rotary.redis.positions import CURRENT_MS, FIELD, decode_bucket_status

CALLERS_AT_ONCE = 1_000
_ATTEMPTS = 3


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

    async def groups(self, customer: int) -> list[GroupDefinition]:
        """The customer's groups, ascending by id."""
        bucket = keys.bucket_of(customer)
        for _ in range(_ATTEMPTS):
            with translate_errors():
                ids = sorted(map(int, await self._client.smembers(keys.group_ids(customer))))
                async with self._client.pipeline(transaction=True) as pipeline:
                    pipeline.hmget(keys.definitions(bucket), list(DEFINITIONS_FIELDS))
                    pipeline.smembers(keys.group_ids(customer))
                    for row in ids:
                        pipeline.get(keys.group(customer, row))
                    fields, again, *documents = await pipeline.execute()
            complete, newest = fields
            if not is_complete(complete, newest, self._newest.get(bucket, b"")):
                raise NotCurrentError(REBUILDING)
            if sorted(map(int, again)) == ids:
                self._newest[bucket] = newest
                return [decode_group(document) for document in documents if document is not None]
        raise NotCurrentError(REBUILDING)

    async def facts(self, customer: int, callers: Sequence[int]) -> Observed:
        """The facts of caller IDs of a customer's, at least one. Raises NotCurrentError unless they are current."""
        facts: dict[int, CallerFacts] = {}
        now_ms = 0
        for some in _slices(callers):
            found, now_ms = await self._facts(customer, some)
            facts |= found
        return Observed(facts, now_ms)

    async def _facts(self, customer: int, callers: Sequence[int]) -> tuple[dict[int, CallerFacts], int]:
        bucket = keys.bucket_of(customer)
        with translate_errors():
            generation = int(await self._client.get(keys.generation(bucket)) or 0)
            days = list(days_read(await self._now_ms()))
            async with self._client.pipeline(transaction=True) as pipeline:
                pipeline.hget(keys.position(bucket, generation), FIELD)
                pipeline.get(keys.generation(bucket))
                pipeline.time()
                pipeline.mget(fact_keys(customer, callers, days, generation))
                said, current, time, values = await pipeline.execute()
        now_ms = int(time[0]) * 1000 + int(time[1]) // 1000
        status = decode_bucket_status(said)
        if int(current or 0) != generation:
            raise NotCurrentError("The projections were rebuilt just now")
        if reason := status.refusal(now_ms):
            raise NotCurrentError(reason)
        if status.age_ms(now_ms) > CURRENT_MS:
            raise NotCurrentError("The facts are behind the log")
        return decode_facts(callers, days, cast("list[bytes | None]", values)), now_ms

    async def _now_ms(self) -> int:
        seconds, microseconds = await self._client.time()
        return int(seconds) * 1000 + int(microseconds) // 1000


def _slices(callers: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(callers), CALLERS_AT_ONCE):
        yield callers[start : start + CALLERS_AT_ONCE]
