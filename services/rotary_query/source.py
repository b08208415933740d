"""Where answers come from: the mirror when it has them, Redis when it has not or may not be believed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from rotary.clock import Clock
from rotary.errors import GroupNotFoundError, UnavailableError
from rotary.process.program import end
from rotary.redis.reader import Reader
from rotary_query.answers import Answer
from rotary_query.auth import Grant
from rotary_query.errors import GROUP_NOT_FOUND
from rotary_query.loads import Loader
from rotary_query.mirror import Mirror
from rotary_query.routes import Route
from rotary_query.settings import QuerySettings
from rotary_query.stream import Streams
from rotary_query.tokens import Tokens
from rotary_query.watch import Watcher


class Source:
    """Wires the mirror, what fills it, what keeps it true, and who is told of changes."""

    def __init__(self, client: Redis, settings: QuerySettings, clock: Clock) -> None:
        self._clock = clock
        self._reader = Reader(client)
        self.streams = Streams(self, settings.max_streams)
        self.mirror = Mirror(settings.mirror_megabytes * 2**20, self.streams.changed)
        self.tokens = Tokens(client, clock, settings.failed_attempts_per_minute)
        self.loader = Loader(client, self.mirror, clock)
        self.watcher = Watcher(client, self.mirror, self.tokens)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watches Redis while the context is open; at its end streams and reads under way are ended."""
        watching = asyncio.create_task(self.watcher.run())
        try:
            yield
        finally:
            await self.streams.close()
            await end(watching)
            await self.loader.close()
            await self.tokens.stop()

    def mirrored(self, route: Route, customer: int, now_ms: int) -> Answer | None:
        """The answer of an API route, if it can be given from memory."""
        entry = self.mirror.get((route.kind, customer, route.group_id))
        return None if entry is None else entry.answer(now_ms)

    async def answer(self, route: Route, customer: int, now_ms: int) -> Answer:
        """The answer of an API route. Raises UnavailableError."""
        known = self.mirrored(route, customer, now_ms)
        if known is not None:
            return known
        entry = await self.loader.load((route.kind, customer, route.group_id))
        return entry.answer(self._clock())

    async def monitor(self, customer: int, group_id: int) -> Answer:
        """A group's monitor now. Raises GroupNotFoundError, UnavailableError."""
        answer = await self.answer(Route("monitor", group_id), customer, self._clock())
        if answer is GROUP_NOT_FOUND:
            raise GroupNotFoundError
        return answer

    async def is_granted(self, grant: Grant) -> bool:
        """Whether a token that was accepted still would be. Raises UnavailableError."""
        found = await self.tokens.find(grant.sha256_hex)
        return found is not None and found.in_scope and self._clock() < found.expires_ms

    async def missing(self) -> list[str]:
        """What this process lacks to answer everything."""
        try:
            await self._reader.ping()
        except UnavailableError as error:
            return [error.what]
        return []
