"""Cold reads: one round trip for the definitions, then one for the facts about their members.

Each round trip has one transaction for each bucket. Documents therefore come with the fields that say whether they are
complete, and facts with the position that says how old they are. Requests for the same entry share one read while the
cache hears the changes that this read may miss.
"""

from collections.abc import Awaitable, Iterator
from typing import NamedTuple, cast

from redis.asyncio import Redis

from rotary.clock import Clock
from rotary.definitions import GroupDefinition
from rotary.domain.facts import DAY_MS
from rotary.domain.quota import days_read
from rotary.errors import UnavailableError
from rotary.http.errors import GROUP_NOT_FOUND
from rotary.http.responses import NO_FACTS
from rotary.redis import keys, versions
from rotary.redis.documents import decode_group, decode_groups
from rotary.redis.facts import decode_group_facts
from rotary.redis.pipeline import TIME, pack, time_ms
from rotary.redis.positions import REBUILDING, decode_bucket_status, pack_bucket_status
from rotary.redis.versions import Versions
from rotary.runtime import read_batcher as batches
from rotary.runtime.read_batcher import ReadBatcher
from rotary_query.cache.bucket_statuses import BucketStatuses
from rotary_query.cache.group_cache import Definition, Document, Entry, GroupCache, Key, PendingRead
from rotary_query.cache.redis_clock import RedisClock
from rotary_query.cache.roundtrip import RoundTrips, pack_fact_keys
from rotary_query.http.endpoints import Kind
from rotary_query.http.rendering import detail_answer, list_answer

MAX_BATCH = 16
"""Entries in one batch: enough to share a round trip, and few enough that Redis has work while others are decoded."""
IN_FLIGHT = 4
"""Batches at a time: while one is decoded, Redis works on the others."""
MAX_CALLERS = 2_000
"""Members in one round trip. More would make other clients of Redis wait."""

_AHEAD_MS = 3_600_000
_ATTEMPTS = 3

Values = list[bytes | None]
Loaded = tuple[Entry, int]
"""An entry, and the age of its facts in milliseconds at the time of the read, or NO_FACTS."""
PendingResult = batches.PendingResult[PendingRead, Loaded]
Found = tuple[PendingResult, GroupDefinition, list[int]]
"""A requested monitor, its group, and the caller IDs of the group."""


class BucketRead(NamedTuple):
    """The facts read from one bucket.

    `values` are those of the `fact_keys` of one group after the other. `refusal` is the reason why they must not be
    shown, or None.
    """

    values: Values
    age_ms: int
    refusal: str | None


class Loader:
    """Reads entries that are not cached, and caches them if they are still current."""

    def __init__(  # wired once, by GroupReader
        self,
        client: Redis,
        cache: GroupCache,
        bucket_statuses: BucketStatuses,
        known: Versions,
        redis_clock: RedisClock,
        clock: Clock,
    ) -> None:
        self._redis = RoundTrips(client)
        self._cache = cache
        self._bucket_statuses = bucket_statuses
        self._versions = known
        self._redis_clock = redis_clock
        self._clock = clock
        self._batches = ReadBatcher(self._read, MAX_BATCH, in_flight=IN_FLIGHT)
        self._shared: dict[Key, PendingResult] = {}
        self.entries_read = 0
        self.batches_read = 0

    def load(self, key: Key) -> Awaitable[Loaded]:
        """Reads one entry. Raises UnavailableError."""
        waiting = self._shared.get(key)
        if waiting is None or not self._cache.holds(waiting.asked):
            waiting = self._shared[key] = self._batches.ask(self._cache.begin(key))
        return waiting.answer()

    async def close(self) -> None:
        """Ends the reads in flight."""
        await self._batches.close()
        await self._redis.close()

    async def _read(self, batch: list[PendingResult]) -> None:
        self.entries_read += len(batch)
        self.batches_read += 1
        try:
            found = self._give_documents(await self._documents(batch))
            for some in _chunks(found):
                await self._monitors(some)
        finally:
            for waiting in batch:
                self._cache.end(waiting.asked)
                if self._shared.get(waiting.asked.key) is waiting:
                    del self._shared[waiting.asked.key]

    def _give_documents(self, read: list[tuple[PendingResult, bytes | None]]) -> list[Found]:
        """Answers the requests that need no facts. Returns the monitors, which need them."""
        found: list[Found] = []
        for waiting, document in read:
            pending = waiting.asked
            try:
                if document is not None and pending.key[0] == "monitor":
                    group = decode_group(document)
                    found.append((waiting, group, [member.id for member in group.members]))
                else:
                    entry = _entry(pending.key[0], document)
                    self._cache.install_document(pending, entry)
                    waiting.give((entry, NO_FACTS))
            except Exception as error:  # noqa: BLE001  # a broken document fails its own read alone
                waiting.fail(error)
        return found

    async def _documents(self, batch: list[PendingResult]) -> list[tuple[PendingResult, bytes | None]]:
        """The requested documents. Fails the requests to buckets whose definitions are incomplete."""
        buckets: dict[int, list[PendingResult]] = {}
        for waiting in batch:
            buckets.setdefault(waiting.asked.bucket, []).append(waiting)
        marks = [self._versions.mark(bucket) for bucket in buckets]
        replies = await self._redis.transact(
            [
                (versions.ASK[bucket], pack("MGET", *[_name(waiting.asked.key) for waiting in some]))
                for bucket, some in buckets.items()
            ]
        )
        read: list[tuple[PendingResult, bytes | None]] = []
        for (bucket, some), mark, (fields, documents) in zip(buckets.items(), marks, replies, strict=True):
            try:
                self._versions.check(bucket, cast("Values", fields), mark)
            except UnavailableError as error:
                for waiting in some:
                    waiting.fail(error)
            else:
                read += zip(some, cast("Values", documents), strict=True)
        return read

    async def _monitors(self, found: list[Found]) -> None:
        """Answers the requests for monitors, with the facts about all members of their groups."""
        left: dict[int, list[Found]] = {}
        for one in found:
            left.setdefault(one[0].asked.bucket, []).append(one)
        days = days_asked(self._clock())
        for _ in range(_ATTEMPTS):
            for bucket, read in (await self._facts(left, days)).items():
                self._give_monitors(left.pop(bucket), days, read)
            if not left:
                return
        # A generation changes once in a rebuild. Repeated changes are a defect.
        raise UnavailableError(REBUILDING)

    async def _facts(self, buckets: dict[int, list[Found]], days: tuple[int, ...]) -> dict[int, BucketRead]:
        """The facts about these groups by bucket, without buckets whose generation has changed."""
        marks = [self._bucket_statuses.mark(bucket) for bucket in buckets]
        asked_ms = self._redis_clock.local_ms()
        replies = await self._redis.transact(
            [
                [*pack_bucket_status(bucket, mark.generation), TIME, *_pack_facts(some, days, mark.generation)]
                for (bucket, some), mark in zip(buckets.items(), marks, strict=True)
            ]
        )
        read: dict[int, BucketRead] = {}
        for bucket, mark, (status, generation, time, *facts) in zip(buckets, marks, replies, strict=True):
            now_ms = time_ms(time)
            self._redis_clock.answered(now_ms, asked_ms)
            bucket_status = decode_bucket_status(cast("bytes | None", status))
            if self._bucket_statuses.read(bucket, int(cast("bytes | None", generation) or 0), bucket_status, mark):
                values = cast("Values", facts[0]) if facts else []
                read[bucket] = BucketRead(values, bucket_status.age_ms(now_ms), bucket_status.refusal(now_ms))
        return read

    def _give_monitors(self, found: list[Found], days: tuple[int, ...], read: BucketRead) -> None:
        now_ms = self._clock()
        begin, width = 0, 1 + len(days)
        for waiting, group, callers in found:
            end = begin + width * len(callers)
            stored, begin = read.values[begin:end], end
            try:
                # A refused entry is cached too. The status of its bucket decides when to show it.
                entry = self._cache.install_monitor(waiting.asked, group, decode_group_facts(days, stored))
                if read.refusal is None:
                    # Rendered here, one after the other: that is faster than in turns with the answering of requests.
                    entry.answer(now_ms)
            except Exception as error:  # noqa: BLE001  # broken facts fail their own read alone
                waiting.fail(error)
                continue
            if read.refusal is None:
                waiting.give((entry, read.age_ms))
            else:
                waiting.fail(UnavailableError(read.refusal))


def days_asked(now_ms: int) -> tuple[int, ...]:
    """The UTC days whose counts are read. Tomorrow is read only if it may have begun by a clock that is ahead."""
    return tuple(day for day in days_read(now_ms) if day * DAY_MS <= now_ms + _AHEAD_MS)


def _pack_facts(found: list[Found], days: tuple[int, ...], generation: int) -> list[bytes]:
    """The command that reads the facts, unless no group has members: Redis refuses an MGET without keys."""
    groups = [(one.asked.key[1], callers) for one, _, callers in found if callers]
    return [pack_fact_keys(groups, days, generation)] if groups else []


def _chunks(found: list[Found]) -> Iterator[list[Found]]:
    chunk: list[Found] = []
    members = 0
    for one in found:
        if chunk and members + len(one[2]) > MAX_CALLERS:
            yield chunk
            chunk, members = [], 0
        chunk.append(one)
        members += len(one[2])
    if chunk:
        yield chunk


def _name(key: Key) -> str:
    kind, customer, group_id = key
    return keys.groups(customer) if kind == "groups" else keys.group(customer, group_id)


def _entry(kind: Kind, document: bytes | None) -> Document:
    if kind == "groups":
        return Document(list_answer(decode_groups(document) if document else ()))
    if kind == "history":
        return Definition(decode_group(document) if document else None)
    return Document(detail_answer(decode_group(document)) if document else GROUP_NOT_FOUND)
