"""The rate limit of a token: a sliding window of 60 s that all replicas share through Redis.

A replica reserves a few hits of a token's window at a time (`rotary.redis.rate_limits`) and spends them locally. It
reserves more in the background before they run out. Only a request that finds none left waits for Redis. A replica that
spends its hits within 0.25 s reserves twice as many next time, and one that needs more than 1 s half as many: at least
1 % and at most 25 % of the limit. Unspent hits are returned after 2 s without a request.

- All replicas together never exceed the limit in any 60 s, through any crash, hang or retry. There are two exceptions:
  Redis loses the windows and counts from 0, or its clock is set forward.
- A token may be refused below its limit, because other replicas hold hits at that moment. A replica that served the
  token within the last 2 s holds about its hits of half a second, between 1 % and 25 % of the limit. The hits of a
  killed replica count for 65 s. A single replica refuses exactly at the limit. Hits within 0.25 s of each other stop
  counting together.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from secrets import token_hex
from typing import NamedTuple

from redis.asyncio import Redis

from rotary.clock import Clock
from rotary.errors import UnavailableError
from rotary.redis.rate_limits import HELD_MS, RateLimitStore, Reserve, Reserved
from rotary.runtime import read_batcher as batches
from rotary.runtime.read_batcher import ReadBatcher

MAX_BATCH = 64
"""Tokens in one round trip."""
REFUSED_MS = 1_000
"""How long a refusal holds. Then Redis is asked again, because another replica may have returned hits."""
IDLE_MS = 2_000
RETRY_MS = 250
SWEEP_SECONDS = 1.0
CLOSING_SECONDS = 0.5


class RateLimitStatus(NamedTuple):
    """A token's limit, the requests that remain in the window, and the epoch second when the oldest one expires."""

    limit: int
    remaining: int
    reset_at: int


class TokenWindow:
    """The hits that this replica holds of one token's window, and its last answer from Redis. Times are in ms."""

    __slots__ = (
        "_counted",
        "_filled_ms",
        "_frees_at_ms",
        "_kept",
        "_left",
        "_low",
        "_made",
        "_refill",
        "_refresh_ms",
        "_refused_until_ms",
        "_reported",
        "_until_ms",
        "_want",
        "_wanted",
        "last_ms",
        "limit",
        "pending",
        "sha256_hex",
        "waiters",
    )

    def __init__(self, sha256_hex: str, limit: int, refill: Callable[["TokenWindow"], object]) -> None:
        self.sha256_hex = sha256_hex
        self.limit = limit
        self.last_ms = 0
        self.pending: PendingResult | None = None
        """The call in flight, at most one at a time."""
        self.waiters = 0
        """Requests that wait for the call."""
        self._refill = refill
        self._left = 0
        self._made = 0
        self._reported = 0  # made, and reported by the call in flight
        self._kept = 0
        self._wanted = 0
        self._want = self._min_request
        self._low = 0
        self._filled_ms = 0
        self._until_ms = 0
        self._refresh_ms = 0
        self._refused_until_ms = 0
        self._counted = 0
        self._frees_at_ms = 0

    @property
    def _min_request(self) -> int:
        return max(1, self.limit // 100)

    @property
    def _max_request(self) -> int:
        return max(1, self.limit // 4)

    @property
    def is_settled(self) -> bool:
        """Whether this replica holds no hits and has none to report."""
        return not (self._left or self._made or self._reported)

    def hit(self, now_ms: int) -> bool:
        """Spends a held hit and returns True. Returns False without one; then `is_dry` says whether to ask Redis."""
        if self._left > self._low and self._filled_ms <= now_ms < self._refresh_ms:
            self._left -= 1
            self._made += 1
            self.last_ms = now_ms
            return True
        return self._hit_and_refill(now_ms)

    def _hit_and_refill(self, now_ms: int) -> bool:
        if self._left <= 0 or not self._filled_ms <= now_ms < self._until_ms:
            return False
        self._left -= 1
        self._made += 1
        self.last_ms = now_ms
        if self._low or now_ms >= self._refresh_ms:
            self._refill(self)
        return True

    def is_dry(self, now_ms: int) -> bool:
        """Whether only Redis can decide: no hits are held, and no refusal is in force."""
        if self._left > 0 and self._filled_ms <= now_ms < self._until_ms:
            return False
        return not 0 < self._refused_until_ms - now_ms <= REFUSED_MS

    def resize(self, limit: int) -> None:
        """Changes the limit of the token."""
        if limit == self.limit:
            return
        if limit < self.limit:
            self._left = 0
        self.limit = limit
        self._want = self._min_request
        self._refused_until_ms = 0

    def ask(self, now_ms: int, *, is_return: bool = False) -> Reserve:
        """The report and request to send now. `is_return` returns all hits. Call `take` or `fail` afterwards."""
        is_live = self._filled_ms <= now_ms < self._until_ms
        self._left = self._kept = self._left if is_live and not is_return else 0
        wanted = self.waiters if is_return else max(self._want, self.waiters)
        self._wanted = max(0, wanted - self._kept)
        self._reported, self._made = self._made, 0
        age_ms = max(0, now_ms - self.last_ms)
        return Reserve(self.sha256_hex, self.limit, self._reported, age_ms, self._kept, self._wanted)

    def take(self, reserved: Reserved, sent_ms: int, now_ms: int) -> None:
        """Takes the answer to a request of `sent_ms`. Hits spent since then came from those kept."""
        self._left = max(0, reserved.held - self._made)
        self._reported = 0
        self._counted = reserved.counted
        self._frees_at_ms = now_ms + reserved.frees_in_ms
        self._adapt(sent_ms - self._filled_ms)
        self._filled_ms, self._until_ms = sent_ms, sent_ms + HELD_MS
        self._low, self._refresh_ms = max(1, self._want // 2), sent_ms + HELD_MS // 2
        if reserved.held < self._kept + self._wanted:  # near the limit: spend the rest before the next request
            self._low, self._refresh_ms = 0, now_ms + RETRY_MS
            if not self._left:
                self._refused_until_ms = now_ms + min(max(reserved.frees_in_ms, 1), REFUSED_MS)

    def fail(self, now_ms: int) -> None:
        """Handles a lost answer. Redis may have counted the report or not, so it is reported again."""
        self._made += self._reported
        self._reported = 0
        self._low, self._refresh_ms = 0, now_ms + RETRY_MS

    def _adapt(self, lasted_ms: int) -> None:
        if lasted_ms < 250:
            self._want = min(self._want * 2, self._max_request)
        elif lasted_ms > 1_000:
            self._want = max(self._want // 2, self._min_request)

    def retry_after(self, now_ms: int) -> int:
        """Whole seconds, at least 1, after which the oldest hits have left the window."""
        return max(1, -((now_ms - self._frees_at_ms) // 1000))

    def status(self, now_ms: int) -> RateLimitStatus:
        """The state of the limit by this replica's last answer from Redis and the hits since."""
        remaining = self.limit - self._counted - self._reported - self._made
        return RateLimitStatus(self.limit, max(0, remaining), -(-(max(now_ms, self._frees_at_ms)) // 1000))


PendingResult = batches.PendingResult[TokenWindow, None]


class RateLimits:
    """Reserves hits for the windows of this replica, and returns unspent ones."""

    def __init__(self, client: Redis, clock: Clock) -> None:
        self.store = RateLimitStore(client, token_hex(8))
        self._clock = clock
        self._batches = ReadBatcher(self._reserve, MAX_BATCH)
        self._holding: set[TokenWindow] = set()
        self._returning: set[TokenWindow] = set()
        self._sweeping: asyncio.TimerHandle | None = None
        self.calls = 0
        """Reservations requested so far."""

    def window(self, sha256_hex: str, limit: int) -> TokenWindow:
        """A new window for a token."""
        return TokenWindow(sha256_hex, limit, self._ask)

    async def fill(self, window: TokenWindow) -> None:
        """Reserves hits for a window. Returns once Redis has answered. Raises UnavailableError."""
        window.waiters += 1
        try:
            await self._ask(window).answer()
        finally:
            window.waiters -= 1

    async def close(self) -> None:
        """Returns all held hits within CLOSING_SECONDS, if Redis answers, and ends the calls in flight."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        with suppress(TimeoutError, UnavailableError):
            async with asyncio.timeout(CLOSING_SECONDS):
                for returned in [self._return(window) for window in self._holding]:
                    await returned.answer()
        await self._batches.close()

    def _ask(self, window: TokenWindow) -> PendingResult:
        if window.pending is None:
            window.pending = self._batches.ask(window)
        return window.pending

    def _return(self, window: TokenWindow) -> PendingResult:
        self._returning.add(window)
        return self._ask(window)

    async def _reserve(self, batch: list[PendingResult]) -> None:
        sent_ms = self._clock()
        windows = [waiting.asked for waiting in batch]
        asked = [window.ask(sent_ms, is_return=window in self._returning) for window in windows]
        self._returning.difference_update(windows)
        self.calls += len(asked)
        try:
            reserved = await self.store.reserve(asked)
        except BaseException:
            for window in windows:
                window.fail(self._clock())
            raise
        else:
            now_ms = self._clock()
            for window, answer in zip(windows, reserved, strict=True):
                window.take(answer, sent_ms, now_ms)
        finally:
            for window in windows:
                window.pending = None
                self._hold(window)
        for waiting in batch:
            waiting.give(None)

    def _hold(self, window: TokenWindow) -> None:
        self._holding.add(window)
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Returns idle hits, so that other replicas can spend them."""
        self._sweeping = None
        now_ms = self._clock()
        for window in [*self._holding]:
            if window.is_settled:
                self._holding.discard(window)
            elif window.pending is None and abs(now_ms - window.last_ms) >= IDLE_MS:
                self._return(window)
        if self._holding:
            self._sweeping = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)
