"""The limit that replicas share: never exceeded together, whatever happens to them, and all of it used by one alone."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from redis.asyncio import Redis

from integration.private_redis import own
from rotary.auth.rate_limit import RateLimits, TokenWindow
from rotary.clock import system_clock
from rotary.redis.connection import connect
from rotary.redis.rate_limits import RateLimitStore, Reserve, limit_key, load_rate_limits
from running import until

START = 1_780_000_000_000
WINDOW_MS = 60_000
_numbers = count()


class Call(Struct):
    """A reservation under way: what was asked, when, and whether the server has answered it."""

    reserve: Reserve
    sent_ms: int


class Replica:
    """A replica whose calls take as long, and go wrong as often, as the test says. Its clock may be off."""

    def __init__(self, client: Redis, token: str, limit: int, skew_ms: int) -> None:
        self._store = RateLimitStore(client, f"replica-{next(_numbers)}")
        self._skew_ms = skew_ms
        self.window = TokenWindow(token, limit, lambda _window: None)
        self._call: Call | None = None

    async def hit(self, now_ms: int) -> bool:
        """A request: it waits for Redis where it must."""
        while self.window.is_dry(now_ms + self._skew_ms):
            if self._call is None:
                self.send(now_ms)
            await self.answer(now_ms)
        return self.window.hit(now_ms + self._skew_ms)

    def send(self, now_ms: int, *, is_return: bool = False) -> None:
        """A call leaves."""
        if self._call is None:
            sent_ms = now_ms + self._skew_ms
            self._call = Call(self.window.ask(sent_ms, is_return=is_return), sent_ms)

    async def answer(self, now_ms: int, *, is_lost: bool = False) -> None:
        """It reaches the server, and its answer us, or not."""
        if self._call is None:
            return
        call, self._call = self._call, None
        self._store.server_ms = now_ms
        (reserved,) = await self._store.reserve([call.reserve])
        if is_lost:
            self.window.fail(now_ms + self._skew_ms)
        else:
            self.window.take(reserved, call.sent_ms, now_ms + self._skew_ms)


STEPS = st.one_of(
    st.tuples(st.just("pass"), st.integers(0, 400)),
    st.tuples(st.just("pass"), st.integers(0, 30_000)),
    st.tuples(st.just("hit"), st.integers(1, 12)),
    st.tuples(st.just("hit"), st.integers(1, 3)),
    st.tuples(st.sampled_from(["send", "answer", "lose", "return", "crash"]), st.just(0)),
)


@settings(max_examples=80, deadline=None)
@given(
    limit=st.integers(1, 25),
    skews=st.lists(st.integers(-300_000, 300_000), min_size=1, max_size=4),
    steps=st.lists(st.tuples(st.integers(0, 3), STEPS), min_size=20, max_size=120),
)
def test_replicas_together_never_exceed_the_limit_in_any_60_seconds(
    redis_url: str, limit: int, skews: list[int], steps: list[tuple[int, tuple[str, int]]]
) -> None:
    async def history(client: Redis, token: str) -> None:
        replicas = [Replica(client, token, limit, skew) for skew in skews]
        now_ms, allowed = START, list[int]()
        for who, (what, amount) in steps:
            at = who % len(replicas)
            replica = replicas[at]
            match what:
                case "pass":
                    now_ms += amount
                case "hit":
                    allowed += [now_ms for _ in range(amount) if await replica.hit(now_ms)]
                    assert sum(hit > now_ms - WINDOW_MS for hit in allowed) <= limit
                case "send" | "return":
                    replica.send(now_ms, is_return=what == "return")
                case "answer" | "lose":
                    await replica.answer(now_ms, is_lost=what == "lose")
                case _:
                    replicas[at] = Replica(client, token, limit, skews[at])

    run(redis_url, history)


@settings(max_examples=50, deadline=None)
@given(limit=st.integers(1, 400), gaps=st.lists(st.integers(0, 3_000), max_size=60))
def test_one_replica_alone_is_given_all_of_the_limit(redis_url: str, limit: int, gaps: Sequence[int]) -> None:
    async def history(client: Redis, token: str) -> None:
        replica, now_ms, allowed = Replica(client, token, limit, 0), START, list[int]()
        for gap in [*gaps, *[0] * limit]:
            now_ms += gap
            if await replica.hit(now_ms):
                allowed.append(now_ms)
            else:
                # Hits that share a quarter second stop counting with its last; a refusal holds for up to a second.
                assert sum(hit > now_ms - WINDOW_MS - 1_250 for hit in allowed) >= limit
                assert 1 <= replica.window.retry_after(now_ms) <= 60
        last = max(allowed)
        assert await replica.hit(last + WINDOW_MS + 1_000)

    run(redis_url, history)


def test_what_one_returns_another_may_spend(redis_url: str) -> None:
    async def history(client: Redis, token: str) -> None:
        idle, busy = Replica(client, token, 400, 0), Replica(client, token, 400, 0)
        assert await idle.hit(START)
        spent = sum([await busy.hit(START + 1) for _ in range(400)])
        assert 390 <= spent <= 399, "1 % of the limit is held by the idle one"
        idle.send(START + 2_000, is_return=True)
        await idle.answer(START + 2_000)
        spent += sum([await busy.hit(START + 2_001) for _ in range(400)])
        assert spent == 399

    run(redis_url, history)


async def test_the_function_loads_itself_and_windows_expire(shared_redis: Redis) -> None:
    store, token = RateLimitStore(shared_redis, "a"), f"loads-{next(_numbers)}"
    await load_rate_limits(shared_redis)
    await shared_redis.function_delete("rotary_rate_limits_1")
    (reserved,) = await store.reserve([Reserve(token, 10, 0, 0, 0, 4)])
    assert (reserved.held, reserved.counted) == (4, 0)
    assert 60_000 < await shared_redis.pttl(limit_key(token)) <= 65_000


async def test_what_is_not_spent_is_returned_by_itself(shared_redis: Redis) -> None:
    shift, now = 0, system_clock()
    limits = RateLimits(shared_redis, lambda: now() + shift)
    window = limits.window(f"returned-{next(_numbers)}", 1_000)
    await limits.fill(window)
    assert window.hit(now())
    shift = 2_500

    async def returned() -> bool:
        return window.is_settled

    await until(returned, 3, "what was held is returned")
    (reserved,) = await limits.store.reserve([Reserve(window.sha256_hex, 1_000, 0, 0, 0, 1_000)])
    assert (reserved.held, reserved.counted) == (999, 1)
    await limits.close()


def run(redis_url: str, history: Callable[[Redis, str], Awaitable[Any]]) -> None:
    """Plays a history with a window of its own."""

    async def play() -> None:
        async with connect(own(redis_url)) as client:
            token = f"history-{next(_numbers)}"
            await client.delete(limit_key(token))
            await history(client, token)
            await client.delete(limit_key(token))

    asyncio.run(play())
