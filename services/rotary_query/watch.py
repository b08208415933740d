"""Watching Redis: the subscription to changes, and whether the server is still the one that was read from."""

import asyncio

import structlog
from msgspec import MsgspecError
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from rotary.errors import UnavailableError
from rotary.redis import keys
from rotary.redis.connection import redis_answers
from rotary.redis.state import State, StateStore
from rotary_query.changes import Beaten, BecameReady, Change, FactsChanged, GroupsChanged, TokensChanged, decode_change
from rotary_query.mirror import Mirror
from rotary_query.tokens import Tokens

POLL_SECONDS = 0.4
"""A FLUSHALL breaks no connection and publishes nothing: only asking finds it."""
SILENCE_SECONDS = 1.5
"""The subscription answers a ping at each poll; silence for longer means that it is lost."""
RETRY_SECONDS = 0.25
_log = structlog.get_logger("rotary_query")


class Watcher:
    """Opens the mirrors when the subscription works, feeds them, and closes them on the slightest doubt."""

    def __init__(self, client: Redis, mirror: Mirror, tokens: Tokens) -> None:
        self._client = client
        self._store = StateStore(client)
        self._mirror = mirror
        self._tokens = tokens
        self._known: tuple[str, str | None, str | None] | None = None
        self._heard_at = 0.0
        self._is_loss_told = False
        self.is_watching = False
        self.changes_heard = 0
        self.folded_until_ms = 0
        """All that reached the broker before this moment has been folded, as last said; 0 if nobody ever said."""

    async def run(self) -> None:
        """Watches until cancelled, through any number of losses."""
        this = asyncio.current_task()
        assert this is not None
        # A task group whose child failed as it was cancelled raises the failure alone (Python 3.11).
        while not this.cancelling():
            try:
                async with self._client.pubsub() as channel:
                    await self._watch(channel)
            except* UnavailableError as errors:
                self._tell_loss(str(errors.exceptions[0]))
            except* Exception:  # noqa: BLE001  # a defect: reads stay right without us, and the log says so
                _log.exception("watching failed")
            finally:
                self._close()
            await asyncio.sleep(RETRY_SECONDS)

    def _tell_loss(self, reason: str) -> None:
        # Once an outage, not once an attempt.
        if not self._is_loss_told:
            _log.warning("not watching redis", reason=reason)
            self._is_loss_told = True

    async def _watch(self, channel: PubSub) -> None:
        await self._subscribe(channel)
        self._open(await self._store.read())
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(channel))
            tasks.create_task(self._poll(channel))

    async def _subscribe(self, channel: PubSub) -> None:
        with redis_answers():
            await channel.subscribe(keys.CHANGES_CHANNEL)
            confirmation = await channel.get_message(timeout=SILENCE_SECONDS)
        if confirmation is None:
            raise UnavailableError("Redis is away: no answer to the subscription")

    async def _listen(self, channel: PubSub) -> None:
        now = asyncio.get_running_loop().time
        self._heard_at = now()
        while True:
            with redis_answers():
                message = await channel.get_message(timeout=SILENCE_SECONDS)
            if message is None:
                continue
            self._heard_at = now()
            if message["type"] == "message":
                self._hear(message["data"])

    async def _poll(self, channel: PubSub) -> None:
        now = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(POLL_SECONDS)
            with redis_answers():
                await channel.ping()
            self._compare(await self._store.read())
            if now() - self._heard_at > SILENCE_SECONDS:
                raise UnavailableError("Redis is away: the subscription is silent")

    def _hear(self, data: bytes) -> None:
        self.changes_heard += 1
        try:
            change = decode_change(data)
        except MsgspecError as error:
            # Another version's message, perhaps. Whatever it said changed, it is not believed to be unchanged.
            _log.warning("change not understood", reason=str(error))
            self._empty()
        else:
            self._apply(change)

    def _apply(self, change: Change) -> None:
        match change:
            case FactsChanged():
                self._mirror.apply_facts(change)
            case GroupsChanged():
                self._mirror.apply_groups(change)
            case TokensChanged():
                self._tokens.forget(change.hashes)
            case Beaten():
                self.folded_until_ms = max(self.folded_until_ms, change.folded_until_ms)
            case BecameReady():
                self._empty()

    def _compare(self, state: State) -> None:
        self.folded_until_ms = max((beat.folded_until_ms for beat in state.beats.values()), default=0)
        seen = (state.run_id, state.epoch, state.ready)
        if seen != self._known:
            self._known = seen
            _log.info("redis changed", ready=state.is_ready)
            self._empty()

    def _open(self, state: State) -> None:
        self._known = None
        self._compare(state)
        self._mirror.open()
        self._tokens.open()
        self.is_watching = True
        self._is_loss_told = False

    def _empty(self) -> None:
        self._mirror.empty()
        self._tokens.empty()

    def _close(self) -> None:
        self.is_watching = False
        self._mirror.close()
        self._tokens.close()

    def lag_line(self, now_ms: int) -> bytes:
        """The header line `X-Projection-Lag`: how far the fold is behind the broker, in whole seconds."""
        if not self.folded_until_ms:
            return b""
        return b"X-Projection-Lag: %d\r\n" % max(0, (now_ms - self.folded_until_ms) // 1000)
