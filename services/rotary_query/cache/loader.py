"""Cold reads: first the definitions asked for, in one round trip, then the facts of the members that they name.

Each round trip holds one transaction for each bucket, so that documents come with the word on whether they are
complete, and facts with the position that says how old they are: nothing can happen to Redis in between. Requests for
the same thing share one load as long as the mirror hears what that load may have missed.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

from redis.asyncio import Redis

from rotary.clock import Clock
from rotary.definitions import GroupDefinition
from rotary.domain.facts import DAY_MS, CallerFacts
from rotary.domain.quota import days_read
from rotary.errors import UnavailableError
from rotary.http.errors import GROUP_NOT_FOUND
from rotary.http.responses import NO_FACTS, Answer
from rotary.redis import keys, positions, versions
from rotary.redis.documents import decode_group, decode_groups
from rotary.redis.facts import decode_facts
from rotary.redis.positions import decode_standing
from rotary.redis.versions import Versions
from rotary.runtime import read_batcher as batches
from rotary.runtime.read_batcher import Batches
from rotary_query.cache.group_cache import Document, Entry, Key, Load, Mirror
from rotary_query.cache.redis_clock import RedisClock
from rotary_query.cache.roundtrip import TIME, RoundTrips, pack, pack_fact_keys, redis_ms
from rotary_query.cache.standings import Standings
from rotary_query.http.endpoints import Kind
from rotary_query.http.rendering import detail_answer, list_answer

MAX_BATCH = 16
"""Entries read together: enough to share a round trip, few enough that another batch is read meanwhile."""
MAX_CALLERS = 2_000
"""Members whose facts are asked for in one round trip: more would make other clients of Redis wait."""

_AHEAD_MS = 3_600_000
_ATTEMPTS = 3
_REBUILDING = "The projections are being rebuilt"

Values = list[bytes | None]
Loaded = tuple[Entry, int]
"""An entry, and the age of its facts in milliseconds when they were read, or NO_FACTS."""
Waiting = batches.Waiting[Load, Loaded]
Found = tuple[Waiting, GroupDefinition]
Callers = dict[int, list[int]]
"""Caller IDs by customer."""


class FactsRead(NamedTuple):
    """The facts of one bucket, by customer and caller ID, with their age, or why they must not be shown."""

    facts: dict[int, dict[int, CallerFacts]]
    age_ms: int
    refusal: str | None


class Loader:
    """Reads what the mirror lacks and installs it there when it may."""

    def __init__(  # wired once, by Source
        self,
        client: Redis,
        mirror: Mirror,
        standings: Standings,
        known: Versions,
        redis_clock: RedisClock,
        clock: Clock,
    ) -> None:
        self._redis = RoundTrips(client)
        self._mirror = mirror
        self._standings = standings
        self._versions = known
        self._redis_clock = redis_clock
        self._clock = clock
        self._batches = Batches(self._read, MAX_BATCH, in_flight=3)
        self._shared: dict[Key, Waiting] = {}
        self.entries_read = 0
        self.batches_read = 0

    async def load(self, key: Key) -> Loaded:
        """Reads one entry. Raises UnavailableError."""
        waiting = self._shared.get(key)
        if waiting is None or not self._mirror.holds(waiting.asked):
            waiting = self._shared[key] = self._batches.ask(self._mirror.begin(key))
        return await waiting.answer()

    async def close(self) -> None:
        """Ends the loads under way."""
        await self._batches.close()
        await self._redis.close()

    async def _read(self, batch: list[Waiting]) -> None:
        self.entries_read += len(batch)
        self.batches_read += 1
        try:
            found = self._give_documents(await self._documents(batch))
            for some in _chunks(found):
                self._give_monitors(some, await self._facts(some))
        finally:
            for waiting in batch:
                self._mirror.end(waiting.asked)
                if self._shared.get(waiting.asked.key) is waiting:
                    del self._shared[waiting.asked.key]

    def _give_documents(self, read: list[tuple[Waiting, bytes | None]]) -> list[Found]:
        """Gives what needs no facts; returns the rest."""
        found: list[Found] = []
        for waiting, document in read:
            load = waiting.asked
            try:
                if document is not None and load.key[0] == "monitor":
                    found.append((waiting, decode_group(document)))
                else:
                    entry = Document(_answer(load.key[0], document))
                    self._mirror.install_document(load, entry)
                    waiting.give((entry, NO_FACTS))
            except Exception as error:  # noqa: BLE001  # a document that is broken fails nobody else's read
                waiting.fail(error)
        return found

    def _give_monitors(self, found: list[Found], read: dict[int, FactsRead]) -> None:
        for waiting, group in found:
            load = waiting.asked
            facts, age_ms, refusal = read[load.bucket]
            # What is refused is mirrored, too: its bucket refuses it, until it does not.
            entry = self._mirror.install_monitor(load, group, facts[load.key[1]])
            if refusal is None:
                waiting.give((entry, age_ms))
            else:
                waiting.fail(UnavailableError(refusal))

    async def _documents(self, batch: list[Waiting]) -> list[tuple[Waiting, bytes | None]]:
        """The documents asked for; whose bucket lacks some is refused."""
        buckets: dict[int, list[Waiting]] = {}
        for waiting in batch:
            buckets.setdefault(waiting.asked.bucket, []).append(waiting)
        marks = [self._versions.mark(bucket) for bucket in buckets]
        replies = await self._redis.transact(
            [
                (_VERSION[bucket], pack("MGET", [_name(waiting.asked.key) for waiting in some]))
                for bucket, some in buckets.items()
            ]
        )
        read: list[tuple[Waiting, bytes | None]] = []
        for (bucket, some), mark, (fields, documents) in zip(buckets.items(), marks, replies, strict=True):
            try:
                self._versions.check(bucket, cast("Values", fields), mark)
            except UnavailableError as error:
                for waiting in some:
                    waiting.fail(error)
            else:
                read += zip(some, cast("Values", documents), strict=True)
        return read

    async def _facts(self, found: list[Found]) -> dict[int, FactsRead]:
        """The facts about all members of these groups, by bucket."""
        asked: dict[int, dict[int, dict[int, None]]] = {}
        for waiting, group in found:
            callers = dict.fromkeys([member.id for member in group.members])
            asked.setdefault(waiting.asked.bucket, {}).setdefault(waiting.asked.key[1], {}).update(callers)
        buckets = {
            bucket: {customer: [*callers] for customer, callers in customers.items()}
            for bucket, customers in asked.items()
        }
        days = days_asked(self._clock())
        read: dict[int, FactsRead] = {}
        for _ in range(_ATTEMPTS):
            left = {bucket: customers for bucket, customers in buckets.items() if bucket not in read}
            if not left:
                return read
            read |= await self._facts_of(left, days)
        # The generation changes once a rebuild, hence this is a defect or somebody's joke.
        raise UnavailableError(_REBUILDING)

    async def _facts_of(self, buckets: dict[int, Callers], days: tuple[int, ...]) -> dict[int, FactsRead]:
        """Likewise, except of buckets whose generation was not the one that they were asked by."""
        marks = [self._standings.mark(bucket) for bucket in buckets]
        asked_ms = self._redis_clock.local_ms()
        replies = await self._redis.transact(
            [
                [*_position(bucket, mark.generation), *_members(customers, days, mark.generation)]
                for (bucket, customers), mark in zip(buckets.items(), marks, strict=True)
            ]
        )
        read: dict[int, FactsRead] = {}
        for (bucket, customers), mark, reply in zip(buckets.items(), marks, replies, strict=True):
            said, generation, time, *values = reply
            now_ms = redis_ms(time)
            self._redis_clock.answered(now_ms, asked_ms)
            standing = decode_standing(cast("bytes | None", said))
            if self._standings.read(bucket, int(cast("bytes | None", generation) or 0), standing, mark):
                facts = _decoded(customers, days, cast("list[Values]", values))
                read[bucket] = FactsRead(facts, standing.age_ms(now_ms), standing.refusal(now_ms))
        return read


def days_asked(now_ms: int) -> tuple[int, ...]:
    """The UTC days whose counts must be read: tomorrow's only when it may have begun for a clock that is ahead."""
    return tuple(day for day in days_read(now_ms) if day * DAY_MS <= now_ms + _AHEAD_MS)


_VERSION = [pack("HMGET", [versions.key(bucket), *versions.FIELDS]) for bucket in range(keys.BUCKETS)]


def _position(bucket: int, generation: int) -> tuple[bytes, bytes, bytes]:
    """What of a bucket is read with its facts."""
    return (
        pack("HGET", [keys.position(bucket, generation), positions.FIELD]),
        pack("GET", [keys.generation(bucket)]),
        TIME,
    )


def _members(customers: Callers, days: tuple[int, ...], generation: int) -> Iterator[bytes]:
    for customer, callers in customers.items():
        if callers:
            yield pack_fact_keys(customer, callers, days, generation)


def _decoded(customers: Callers, days: Sequence[int], values: list[Values]) -> dict[int, dict[int, CallerFacts]]:
    """What `_members` asked for."""
    replies = iter(values)
    return {
        customer: decode_facts(callers, days, next(replies)) if callers else {}
        for customer, callers in customers.items()
    }


def _chunks(found: list[Found]) -> Iterator[list[Found]]:
    chunk: list[Found] = []
    members = 0
    for waiting, group in found:
        if chunk and members + len(group.members) > MAX_CALLERS:
            yield chunk
            chunk, members = [], 0
        chunk.append((waiting, group))
        members += len(group.members)
    if chunk:
        yield chunk


def _name(key: Key) -> str:
    kind, customer, group_id = key
    return keys.groups(customer) if kind == "groups" else keys.group(customer, group_id)


def _answer(kind: Kind, document: bytes | None) -> Answer:
    if kind == "groups":
        return list_answer(decode_groups(document) if document else ())
    return detail_answer(decode_group(document)) if document else GROUP_NOT_FOUND
