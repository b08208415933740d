"""Who may ask: tokens and their limits, and the task that keeps them true."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from rotary.auth.rate_limit import RateLimits
from rotary.auth.token_watch import TokenWatch
from rotary.auth.tokens import Tokens
from rotary.clock import Clock
from rotary.redis.pipeline import Pipeline
from rotary.redis.versions import TOKENS, Versions
from rotary.runtime.supervision import Supervisor


class TokenAccess:
    """The tokens' cache, and what keeps it up to date."""

    def __init__(self, client: Redis, clock: Clock, failures_per_minute: int) -> None:
        self._polls = Pipeline(client)
        self.versions = Versions(self._refuse)
        self.rate_limits = RateLimits(client, clock)
        self.tokens = Tokens(client, clock, self.rate_limits, failures_per_minute, self.versions)
        self.watch = TokenWatch(client, self._polls, self.tokens, self.versions, "rotary_campaigns")

    @asynccontextmanager
    async def running(self, supervisor: Supervisor) -> AsyncIterator[None]:
        """Watches Redis while the context is open."""
        supervisor.start("watching tokens", self.watch.run())
        try:
            yield
        finally:
            await self.tokens.stop()
            await self.rate_limits.close()
            await self._polls.close()

    def not_ready_reasons(self) -> list[str]:
        """What is missing to tell who asks."""
        reasons = [] if self.watch.is_subscribed else [self.watch.loss]
        return reasons + (["The tokens are being rebuilt"] if TOKENS in self.versions.refused else [])

    def _refuse(self, part: int) -> None:
        if part == TOKENS:
            self.tokens.empty()
