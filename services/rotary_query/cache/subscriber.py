"""Keeps the caches current, by a subscription to changes and by polls."""

from collections.abc import Sequence
from typing import cast

import structlog
from msgspec import MsgspecError
from redis.asyncio import Redis

from rotary.auth.change_watch import ChangeWatch
from rotary.auth.tokens import Tokens
from rotary.redis import keys, versions
from rotary.redis.changes import (
    Change,
    FactsChanged,
    GenerationSwitched,
    GroupsChanged,
    PositionsMoved,
    TokensChanged,
    decode_change,
)
from rotary.redis.pipeline import TIME, time_ms
from rotary.redis.positions import decode_bucket_status, pack_bucket_status
from rotary.redis.versions import Versions
from rotary_query.cache.bucket_statuses import BucketStatuses
from rotary_query.cache.group_cache import GroupCache
from rotary_query.cache.redis_clock import RedisClock
from rotary_query.cache.roundtrip import RoundTrips
from rotary_query.http.sse import Streams

_BUCKETS = range(keys.BUCKETS)
_log = structlog.get_logger("rotary_query")


class Subscriber(ChangeWatch):
    """Opens the caches while every change is heard, applies the changes, and closes the caches on any gap."""

    def __init__(  # wired once, by GroupReader
        self,
        client: Redis,
        cache: GroupCache,
        tokens: Tokens,
        bucket_statuses: BucketStatuses,
        known: Versions,
        clock: RedisClock,
        streams: Streams,
    ) -> None:
        super().__init__(client, "rotary_query")
        self._round_trips = RoundTrips(client)
        self._cache = cache
        self._tokens = tokens
        self._bucket_statuses = bucket_statuses
        self._versions = known
        self._clock = clock
        self._streams = streams

    async def close(self) -> None:
        """Closes the connection for polls."""
        await self._round_trips.close()

    def subscribed(self) -> None:
        """Called once the subscription works."""
        self._bucket_statuses.open()

    async def poll(self) -> None:
        """Reads the time, the definitions' versions and every bucket's status: a few hundred small replies."""
        parts = [self._versions.mark(part) for part in versions.PARTS]
        buckets = [self._bucket_statuses.mark(bucket) for bucket in _BUCKETS]
        reads = [
            packed for bucket, mark in enumerate(buckets) for packed in pack_bucket_status(bucket, mark.generation)
        ]
        asked_ms = self._clock.local_ms()
        time, *replies = await self._round_trips.ask([TIME, *versions.ASK.values(), *reads])
        self._clock.answered(time_ms(time), asked_ms)
        reply = iter(replies)
        for part, known in zip(versions.PARTS, parts, strict=True):
            self._versions.read(part, cast("Sequence[bytes | None]", next(reply)), known)
        for bucket, mark in enumerate(buckets):
            bucket_status = decode_bucket_status(cast("bytes | None", next(reply)))
            self._bucket_statuses.read(bucket, int(cast("bytes | None", next(reply)) or 0), bucket_status, mark)

    def hear(self, data: bytes) -> None:
        """Applies a message of the change channel."""
        try:
            change = decode_change(data)
        except MsgspecError as error:
            # Perhaps another version's message. It may have changed anything, so everything is dropped.
            _log.warning("change not understood", reason=str(error))
            self._cache.empty()
            self._tokens.empty()
        else:
            self._apply(change)

    def _apply(self, change: Change) -> None:
        match change:
            case FactsChanged():
                for customer in change.customers:
                    self._cache.apply_facts(customer)
            case PositionsMoved():
                self._clock.heard(change.now_ms)
                for bucket, bucket_status in change.bucket_statuses():
                    self._bucket_statuses.heard(bucket, bucket_status)
            case GenerationSwitched():
                self._bucket_statuses.switched(change.bucket, change.generation)
            case GroupsChanged():
                self._cache.apply_groups(change)
            case TokensChanged():
                self._tokens.forget(change.hashes)

    def opened(self) -> None:
        """Called when entries may be cached."""
        self._cache.open()
        self._tokens.open()
        self._streams.look()

    def closed(self) -> None:
        """Called when changes may be missed."""
        self._cache.close()
        self._tokens.close()
        self._bucket_statuses.close()
        self._streams.look()
