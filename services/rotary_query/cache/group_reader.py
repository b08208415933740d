"""Answers requests from the cache, or from Redis for entries that are not cached."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from rotary.auth.grant import Grant
from rotary.auth.rate_limit import RateLimits
from rotary.auth.tokens import Tokens
from rotary.clock import Clock
from rotary.definitions import SCOPE, GroupDefinition
from rotary.errors import GroupNotFoundError
from rotary.http.errors import GROUP_NOT_FOUND
from rotary.http.responses import NO_FACTS, Reading
from rotary.redis import keys
from rotary.redis.documents import REBUILDING
from rotary.redis.versions import TOKENS, Versions
from rotary.runtime.supervision import Supervisor
from rotary_query.cache.bucket_statuses import BucketStatuses
from rotary_query.cache.group_cache import Definition, GroupCache, GroupMonitor, Key
from rotary_query.cache.loader import Loader
from rotary_query.cache.redis_clock import RedisClock
from rotary_query.cache.subscriber import Subscriber
from rotary_query.http.endpoints import Route
from rotary_query.http.sse import Streams
from rotary_query.http.sse_limits import StreamLimits
from rotary_query.http.tickets import Tickets
from rotary_query.settings import QuerySettings


class GroupReader:
    """Connects the cache, its loader, its subscriber, the tokens, the tickets and the streams."""

    def __init__(self, client: Redis, settings: QuerySettings, clock: Clock) -> None:
        self._clock = clock
        self.redis_clock = RedisClock()
        limits = StreamLimits(settings.max_streams_per_token, settings.max_streams_per_customer)
        self.streams = Streams(self, settings.max_streams, limits)
        self.cache = GroupCache(settings.cache_megabytes * 2**20, self.streams.changed)
        self.bucket_statuses = BucketStatuses(self.redis_clock, self.cache.drop, self._lose)
        self.versions = Versions(self._refuse)
        self.rate_limits = RateLimits(client, clock)
        self.tokens = Tokens(client, clock, self.rate_limits, settings.failed_attempts_per_minute, self.versions)
        self.tickets = Tickets(client, clock)
        self.loader = Loader(client, self.cache, self.bucket_statuses, self.versions, self.redis_clock, clock)
        self.subscriber = Subscriber(
            client, self.cache, self.tokens, self.bucket_statuses, self.versions, self.redis_clock, self.streams
        )
        self.supervisor = Supervisor()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watches Redis inside the context. Leaving it ends the streams and the reads in flight."""
        self.supervisor.start("watching redis", self.subscriber.run())
        try:
            yield
        finally:
            await self.streams.close()
            await self.supervisor.close()
            await self.subscriber.close()
            await self.loader.close()
            await self.tickets.close()
            await self.tokens.stop()
            await self.rate_limits.close()

    def cached(self, route: Route, customer: int, now_ms: int) -> Reading | None:
        """The answer of an API route from the cache, or None.

        Raises UnavailableError for facts that must not be shown, as a read of Redis does.
        """
        entry = self.cache.get((route.kind, customer, route.group_id))
        if entry is None:
            return None
        if type(entry) is not GroupMonitor:
            return entry.answer(now_ms), NO_FACTS
        age_ms = self.bucket_statuses.age_ms(entry.bucket)
        return None if age_ms is None else (entry.answer(now_ms), age_ms)

    async def answer(self, route: Route, customer: int, now_ms: int) -> Reading:
        """The answer of an API route. Raises UnavailableError."""
        known = self.cached(route, customer, now_ms)
        if known is not None:
            return known
        entry, age_ms = await self.loader.load((route.kind, customer, route.group_id))
        return entry.answer(self._clock()), age_ms

    async def monitor(self, customer: int, group_id: int) -> Reading:
        """A group's monitor now, for a stream. Raises GroupNotFoundError, UnavailableError."""
        self.cache.expect(("monitor", customer, group_id))
        reading = await self.answer(Route("monitor", group_id), customer, self._clock())
        if reading[0] is GROUP_NOT_FOUND:
            raise GroupNotFoundError
        return reading

    async def definition(self, customer: int, group_id: int) -> GroupDefinition:
        """A group's definition. Raises GroupNotFoundError, UnavailableError."""
        key: Key = ("history", customer, group_id)
        entry = self.cache.get(key)
        if entry is None:
            entry, _ = await self.loader.load(key)
        assert isinstance(entry, Definition)
        if entry.group is None:
            raise GroupNotFoundError
        return entry.group

    def redis_now_ms(self) -> int:
        """The time of Redis' clock in milliseconds; 0 while it is unknown."""
        return self.redis_clock.now_ms()

    async def is_granted(self, grant: Grant) -> bool:
        """Whether an accepted token is still valid. Raises UnavailableError."""
        found = await self.tokens.find(grant.sha256_hex)
        return found is not None and SCOPE in found.scopes and self._clock() < found.expires_ms

    async def not_ready_reasons(self) -> list[str]:
        """The reasons why some requests get a 503, as of the last poll. Empty when ready."""
        if not self.subscriber.is_subscribed:
            return [self.subscriber.loss]
        refused = self.versions.refused
        lacking = ["The tokens are being rebuilt"] if TOKENS in refused else []
        if buckets := len(refused - {TOKENS}):
            lacking.append(f"{REBUILDING}: {buckets} of {keys.BUCKETS} buckets")
        closed = self.bucket_statuses.refusals()
        return lacking + [f"{reason}: {count} of {keys.BUCKETS} buckets" for reason, count in closed.items()]

    def _lose(self, bucket: int) -> None:
        """Handles a bucket that went back. Redis lost data, perhaps in the tokens as well."""
        self.cache.drop(bucket)
        self.tokens.empty()

    def _refuse(self, part: int) -> None:
        """Handles a part of the definitions that went back or is incomplete."""
        if part == TOKENS:
            self.tokens.empty()
        else:
            self.cache.drop(part)
