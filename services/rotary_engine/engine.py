"""The parts of the engine that outlive a request: tokens, picks, and the tasks that watch Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from redis.asyncio import Redis

from rotary.auth.rate_limit import RateLimits
from rotary.auth.token_watch import TokenWatch
from rotary.auth.tokens import Tokens
from rotary.clock import Clock
from rotary.errors import UnavailableError
from rotary.redis.connection import FunctionsMissingError, load_functions
from rotary.redis.picks import Picks
from rotary.redis.pipeline import Pipeline
from rotary.redis.versions import TOKENS, Versions
from rotary.runtime.supervision import Supervisor
from rotary_engine.settings import EngineSettings

_log = structlog.get_logger("rotary_engine")

NOTICE_SECONDS = 1.0


class Engine:
    """What the handler and the metrics share."""

    def __init__(self, client: Redis, settings: EngineSettings, clock: Clock) -> None:
        self._client = client
        self._pipeline = Pipeline(client)
        self._polls = Pipeline(client)
        self.versions = Versions(self._refuse)
        self.rate_limits = RateLimits(client, clock)
        self.tokens = Tokens(client, clock, self.rate_limits, settings.failed_attempts_per_minute, self.versions)
        self.picks = Picks(self._pipeline, offset_ms=int(settings.clock_offset * 1000))
        self.watch = TokenWatch(client, self._polls, self.tokens, self.versions, "rotary_engine")
        self.supervisor = Supervisor()
        self._reason = "Redis has not answered yet"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watches Redis while the context is open. At its end, picks under way are ended."""
        self.supervisor.start("watching tokens", self.watch.run())
        self.supervisor.start("watching picks", self._notice_losses())
        try:
            yield
        finally:
            await self.supervisor.close()
            await self.picks.close()
            await self.tokens.stop()
            await self.rate_limits.close()
            await self._polls.close()
            await self._pipeline.close()

    async def not_ready_reasons(self) -> list[str]:
        """What the engine lacks to pick, as of the last look at Redis."""
        reasons = [self._reason] if self._reason else []
        if not self.watch.is_subscribed and self.watch.loss not in reasons:
            reasons.append(self.watch.loss)
        if TOKENS in self.versions.refused:
            reasons.append("The tokens are being rebuilt")
        return reasons

    async def _notice_losses(self) -> None:
        """Looks at every bucket once a second, and loads the functions where they are missing.

        A loss of data must be noticed when it happens: reservations may be missing for a minute from then on.
        """
        while True:
            try:
                await self._notice()
            except UnavailableError as error:
                if error.what != self._reason:
                    _log.warning("not picking", reason=error.what)
                self._reason = error.what
            else:
                if self._reason:
                    _log.info("picking")
                self._reason = ""
            await asyncio.sleep(NOTICE_SECONDS)

    async def _notice(self) -> None:
        try:
            await self.picks.notice()
        except FunctionsMissingError:
            await load_functions(self._client)
            await self.picks.notice()

    def _refuse(self, part: int) -> None:
        if part == TOKENS:
            self.tokens.empty()
