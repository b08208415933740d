"""Publishes arrival markers into one log: twice a second, and at once when a message waits for one."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct
from redis.asyncio import Redis

from rotary.clock import Clock
from rotary.errors import UnavailableError
from rotary.rabbitmq.markers import Marker, publish_marker
from rotary.rabbitmq.topology import Log
from rotary.redis.pipeline import Pipeline
from rotary.redis.positions import Positions
from rotary.runtime.backoff import Backoff
from rotary_consumer.broker_channels import BrokerChannels
from rotary_consumer.history.late import LateCustomers
from rotary_consumer.logs import Logs

MARKER_SECONDS = 0.5
MIN_MARKER_SECONDS = 0.02
MAX_OWN_MARKERS = 1_000


class Losses:
    """Tells the readers of a consumer that one of them found data lost in Redis, so that all look for it at once.

    Otherwise each would notice at its next marker, and the logs of an emptied Redis would begin one after the other.
    """

    def __init__(self) -> None:
        self._looks: list[Callable[[], None]] = []

    @contextmanager
    def heard_by(self, look: Callable[[], None]) -> Iterator[None]:
        """Calls `look` for every loss while the block runs."""
        self._looks.append(look)
        try:
            yield
        finally:
            self._looks.remove(look)

    def found(self) -> None:
        """One reader found data lost."""
        for look in self._looks:
            look()


class Tools(Struct, frozen=True, kw_only=True):
    """What all readers of a consumer share. Markers are published as `user`; `prefetch` bounds the messages held.

    `fold_slots` bounds the folds in flight of all readers, so that the last ends before Redis seems to be away.
    """

    client: Redis
    pipeline: Pipeline
    url: str
    user: str
    channels: BrokerChannels
    logs: Logs
    late: LateCustomers
    losses: Losses
    clock: Clock
    clock_offset_ms: int
    prefetch: int
    fold_slots: asyncio.Semaphore


class Marking:
    """The markers of one reader."""

    def __init__(self, log: Log, positions: Positions, tools: Tools) -> None:
        self._log = log
        self._positions = positions
        self._tools = tools
        self._wanted = asyncio.Event()
        self._own: set[str] = set()

    def hurry(self) -> None:
        """Publishes the next marker at once: a message waits for it, or the positions must be looked at."""
        self._wanted.set()

    def is_own(self, marker: Marker) -> bool:
        """Whether this reader published the marker. True once for each."""
        is_own = marker.token in self._own
        self._own.discard(marker.token)
        return is_own

    async def run(self) -> None:
        """Publishes markers until cancelled."""
        backoff = Backoff(max_seconds=1.0)
        while True:
            self._wanted.clear()
            try:
                async with asyncio.timeout(MARKER_SECONDS):
                    await self._wanted.wait()
                    await asyncio.sleep(MIN_MARKER_SECONDS)
            except TimeoutError:
                pass
            try:
                await self.mark()
            except UnavailableError as error:
                # Deliveries are folded meanwhile, for instance while a memory alarm blocks publishing.
                await backoff.wait(f"{self._log.name}: no arrival markers: {error.what}")

    async def mark(self) -> str:
        """Publishes one marker and returns its token. Raises UnavailableError."""
        now_ms = await self._positions.now_ms()
        self._tools.logs.saw_redis_clock(now_ms)
        async with self._tools.channels.channel(self._log.queue) as channel:
            token = await publish_marker(channel, self._log.queue, now_ms, self._tools.user)
        # A marker that is confirmed after the timeout is not known as ours.
        if len(self._own) > MAX_OWN_MARKERS:
            self._own.clear()
        self._own.add(token)
        return token
