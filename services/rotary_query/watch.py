"""Watching Redis: the subscription to changes, and polls that find what no message tells."""

import asyncio
from collections.abc import Sequence
from typing import cast

import structlog
from msgspec import MsgspecError
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from rotary.errors import RotaryError, UnavailableError
from rotary.redis import keys, positions
from rotary.redis.connection import translate_errors
from rotary.redis.positions import decode_standing
from rotary.runtime.program import cancel_and_wait
from rotary_query import versions
from rotary_query.changes import (
    Change,
    FactsChanged,
    GenerationSwitched,
    GroupsChanged,
    PositionsMoved,
    TokensChanged,
    decode_change,
)
from rotary_query.mirror import Mirror
from rotary_query.redis_clock import RedisClock
from rotary_query.roundtrip import TIME, RoundTrips, pack, redis_ms
from rotary_query.standings import Standings
from rotary_query.stream import Streams
from rotary_query.tokens import Tokens
from rotary_query.versions import Versions

POLL_SECONDS = 0.4
"""A FLUSHALL breaks no connection and publishes nothing: only asking finds it."""
SILENCE_SECONDS = 1.5
"""The subscription answers a ping at each poll; silence for longer means that it is lost."""
RETRY_SECONDS = 0.25
_BUCKETS = range(keys.BUCKETS)
_VERSIONS = [pack("HMGET", [versions.key(part), *versions.FIELDS]) for part in versions.PARTS]
_GENERATIONS = [pack("GET", [keys.generation(bucket)]) for bucket in _BUCKETS]
_log = structlog.get_logger("rotary_query")


class Watcher:
    """Opens the mirrors when the subscription works, keeps them up to date, and closes them when it may miss some."""

    def __init__(  # wired once, by Source
        self,
        client: Redis,
        mirror: Mirror,
        tokens: Tokens,
        standings: Standings,
        known: Versions,
        clock: RedisClock,
        streams: Streams,
    ) -> None:
        self._client = client
        self._round_trips = RoundTrips(client)
        self._mirror = mirror
        self._tokens = tokens
        self._standings = standings
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
    def is_watching(self) -> bool:
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
        self._standings.open()
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
        """Asks for the time, the definitions' versions and every bucket's standing: a few hundred small replies."""
        parts = [self._versions.mark(part) for part in versions.PARTS]
        buckets = [self._standings.mark(bucket) for bucket in _BUCKETS]
        reads = [_READ[mark.generation, bucket] for bucket, mark in enumerate(buckets)]
        asked_ms = self._clock.local_ms()
        time, *replies = await self._round_trips.ask([TIME, *_VERSIONS, *reads, *_GENERATIONS])
        self._clock.answered(redis_ms(time), asked_ms)
        said = iter(replies)
        for part, mark in zip(versions.PARTS, parts, strict=True):
            self._versions.read(part, cast("Sequence[bytes | None]", next(said)), mark)
        standings = [decode_standing(cast("bytes | None", next(said))) for _ in _BUCKETS]
        for bucket, standing, place in zip(_BUCKETS, standings, buckets, strict=True):
            self._standings.read(bucket, int(cast("bytes | None", next(said)) or 0), standing, place)

    def _hear(self, data: bytes) -> None:
        self.changes_heard += 1
        try:
            change = decode_change(data)
        except MsgspecError as error:
            # Another version's message, perhaps. Whatever it said changed, nothing is taken to be unchanged.
            _log.warning("change not understood", reason=str(error))
            self._mirror.empty()
            self._tokens.empty()
        else:
            self._apply(change)

    def _apply(self, change: Change) -> None:
        match change:
            case FactsChanged():
                for customer in change.customers:
                    self._mirror.apply_facts(customer)
            case PositionsMoved():
                self._clock.heard(change.now_ms)
                for bucket, standing in change.standings():
                    self._standings.heard(bucket, standing)
            case GenerationSwitched():
                self._standings.switched(change.bucket, change.generation)
            case GroupsChanged():
                self._mirror.apply_groups(change)
            case TokensChanged():
                self._tokens.forget(change.hashes)

    def _open(self) -> None:
        self._mirror.open()
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
        self.losses += self._mirror.is_open
        self.loss = self.loss or "Redis is not watched"
        self._mirror.close()
        self._tokens.close()
        self._standings.close()
        self._streams.look()


class _Reads(dict[tuple[int, int], bytes]):
    """What asks for a bucket's standing, by generation and bucket, packed when first needed."""

    def __missing__(self, key: tuple[int, int]) -> bytes:
        generation, bucket = key
        packed = self[key] = pack("HGET", [keys.position(bucket, generation), positions.FIELD])
        return packed


_READ = _Reads()
