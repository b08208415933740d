"""Watching Redis: the subscription to changes, and polls that find what no message tells."""

import asyncio
from collections.abc import Sequence
from typing import cast

import structlog
from msgspec import MsgspecError
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from rotary.auth.tokens import Tokens
from rotary.errors import RotaryError, UnavailableError
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
from rotary.redis.connection import translate_errors
from rotary.redis.pipeline import TIME, time_ms
from rotary.redis.positions import decode_bucket_status, pack_bucket_status
from rotary.redis.versions import Versions
from rotary.runtime.program import cancel_and_wait
from rotary_query.cache.bucket_statuses import BucketStatuses
from rotary_query.cache.group_cache import GroupCache
from rotary_query.cache.redis_clock import RedisClock
from rotary_query.cache.roundtrip import RoundTrips
from rotary_query.http.sse import Streams

POLL_SECONDS = 0.4
"""A FLUSHALL breaks no connection and publishes nothing: only asking finds it."""
SILENCE_SECONDS = 1.5
"""The subscription answers a ping at each poll; silence for longer means that it is lost."""
RETRY_SECONDS = 0.25
_BUCKETS = range(keys.BUCKETS)
_log = structlog.get_logger("rotary_query")


class Subscriber:
    """Opens the mirrors when the subscription works, keeps them up to date, and closes them when it may miss some."""

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
        self._client = client
        self._round_trips = RoundTrips(client)
        self._cache = cache
        self._tokens = tokens
        self._bucket_statuses = bucket_statuses
        self._versions = known
        self._clock = clock
        self._streams = streams
        self._heard_at = 0.0
        self.loss = "Redis has not answered yet"
        """Why there is no subscription; empty while there is one."""
        self._told = ""
        self.losses = 0
        """How often a subscription was lost."""
        self.changes_heard = 0

    @property
    def is_subscribed(self) -> bool:
        """Whether every change is heard."""
        return not self.loss

    async def run(self) -> None:
        """Watches until cancelled, through any number of losses, whatever their cause."""
        while True:
            try:
                async with self._client.pubsub() as channel:
                    await self._watch(channel)
            except RotaryError as error:
                self._lose(str(error), error, is_defect=False)
            except Exception as error:  # noqa: BLE001  # a defect: reads stay right without us, and the log says so
                self._lose(f"{type(error).__name__}: {error}", error, is_defect=True)
            finally:
                self._close()
            await asyncio.sleep(RETRY_SECONDS)

    async def close(self) -> None:
        """Closes the connection for polls."""
        await self._round_trips.close()

    async def _watch(self, channel: PubSub) -> None:
        """Returns never. Raises what ended the subscription or the polls."""
        await self._subscribe(channel)
        self._bucket_statuses.open()
        await self._poll()
        self._open()
        # Not a TaskGroup: on Python 3.11 a failure within one leaves its own task's `cancelling()` at 1 for good, which
        # no one who asks can tell from being told to end.
        tasks = [asyncio.create_task(self._listen(channel)), asyncio.create_task(self._poll_forever(channel))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.cancelled():
                    raise UnavailableError("Redis is away", "the subscription was interrupted")
                if task.done():
                    task.result()
        finally:
            await cancel_and_wait(*tasks)

    async def _subscribe(self, channel: PubSub) -> None:
        with translate_errors():
            await channel.subscribe(keys.CHANGES_CHANNEL)
            confirmation = await channel.get_message(timeout=SILENCE_SECONDS)
        if confirmation is None:
            raise UnavailableError("Redis is away", "no answer to the subscription")

    async def _listen(self, channel: PubSub) -> None:
        now = asyncio.get_running_loop().time
        self._heard_at = now()
        while True:
            with translate_errors():
                message = await channel.get_message(timeout=SILENCE_SECONDS)
            if message is None:
                continue
            self._heard_at = now()
            if message["type"] == "message":
                self._hear(message["data"])

    async def _poll_forever(self, channel: PubSub) -> None:
        now = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(POLL_SECONDS)
            with translate_errors():
                await channel.ping()
            await self._poll()
            if now() - self._heard_at > SILENCE_SECONDS:
                raise UnavailableError("Redis is away", "the subscription is silent")

    async def _poll(self) -> None:
        """Reads the time, the definitions' versions and every bucket's status: a few hundred small replies."""
        parts = [self._versions.mark(part) for part in versions.PARTS]
        buckets = [self._bucket_statuses.mark(bucket) for bucket in _BUCKETS]
        reads = [
            packed for bucket, mark in enumerate(buckets) for packed in pack_bucket_status(bucket, mark.generation)
        ]
        asked_ms = self._clock.local_ms()
        time, *replies = await self._round_trips.ask([TIME, *versions.ASK.values(), *reads])
        self._clock.answered(time_ms(time), asked_ms)
        said = iter(replies)
        for part, known in zip(versions.PARTS, parts, strict=True):
            self._versions.read(part, cast("Sequence[bytes | None]", next(said)), known)
        for bucket, mark in enumerate(buckets):
            bucket_status = decode_bucket_status(cast("bytes | None", next(said)))
            self._bucket_statuses.read(bucket, int(cast("bytes | None", next(said)) or 0), bucket_status, mark)

    def _hear(self, data: bytes) -> None:
        self.changes_heard += 1
        try:
            change = decode_change(data)
        except MsgspecError as error:
            # Another version's message, perhaps. Whatever it said changed, nothing is taken to be unchanged.
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

    def _open(self) -> None:
        self._cache.open()
        self._tokens.open()
        self.loss = self._told = ""
        _log.info("watching redis")
        self._streams.look()

    def _lose(self, reason: str, error: Exception, *, is_defect: bool) -> None:
        # Once an outage, not once an attempt.
        if is_defect and reason != self._told:
            _log.error("watching failed", exc_info=error)
            self._told = reason
        elif not self._told:
            _log.warning("not watching redis", reason=reason)
            self._told = reason
        self.loss = reason

    def _close(self) -> None:
        self.losses += self._cache.is_open
        self.loss = self.loss or "Redis is not watched"
        self._cache.close()
        self._tokens.close()
        self._bucket_statuses.close()
        self._streams.look()
