"""Watches Redis: a subscription to changes, and polls for what no message announces."""

import asyncio
from abc import ABC, abstractmethod
from typing import cast

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.connection import AbstractConnection

from rotary.errors import RotaryError, UnavailableError
from rotary.redis import keys
from rotary.redis.connection import translate_errors
from rotary.runtime.program import cancel_and_wait

POLL_SECONDS = 0.4
"""A FLUSHALL breaks no connection and publishes nothing. Only a poll finds it."""
SILENCE_SECONDS = 1.5
"""Each poll pings the subscription. It is lost if it is silent for longer than this."""
RETRY_SECONDS = 0.25


class ChangeWatch(ABC):
    """Opens caches while every change is heard, applies the changes, and closes the caches on any gap.

    Subclasses have the caches.
    """

    def __init__(self, client: Redis, program: str) -> None:
        self._client = client
        self._log = structlog.get_logger(program)
        self._heard_at = 0.0
        self.loss = "Redis has not answered yet"
        """The reason why there is no subscription; empty while there is one."""
        self._told = ""
        self._is_open = False
        self.losses = 0
        """The number of lost subscriptions."""
        self.changes_heard = 0

    @property
    def is_subscribed(self) -> bool:
        """Whether every change is heard."""
        return not self.loss

    @abstractmethod
    async def poll(self) -> None:
        """Reads what no message announces. Raises UnavailableError."""

    @abstractmethod
    def hear(self, data: bytes) -> None:
        """Applies a message of the change channel."""

    @abstractmethod
    def opened(self) -> None:
        """Called once every change is heard and after the first `poll`."""

    @abstractmethod
    def closed(self) -> None:
        """Called when changes may be missed."""

    def subscribed(self) -> None:  # noqa: B027  # a hook
        """Called once the subscription works, before the first `poll`."""

    async def run(self) -> None:
        """Watches until cancelled. It subscribes again after any loss."""
        while True:
            try:
                async with self._client.pubsub() as channel:
                    await self._watch(channel)
            except RotaryError as error:
                self._lose(str(error), error, is_defect=False)
            except Exception as error:  # noqa: BLE001  # a defect: reads stay correct without the caches, and it is logged
                self._lose(f"{type(error).__name__}: {error}", error, is_defect=True)
            finally:
                self._close()
            await asyncio.sleep(RETRY_SECONDS)

    async def _watch(self, channel: PubSub) -> None:
        """Never returns. Raises the error that ended the subscription or the polls."""
        await self._subscribe(channel)
        self.subscribed()
        await self.poll()
        self._open()
        # Not a TaskGroup: on Python 3.11 a failure in one leaves `cancelling()` of this task at 1, as if this
        # task had been cancelled.
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
                self.changes_heard += 1
                self.hear(message["data"])

    async def _poll_forever(self, channel: PubSub) -> None:
        now = asyncio.get_running_loop().time
        connection = cast("AbstractConnection", channel.connection)  # redis-py's gap
        while True:
            await asyncio.sleep(POLL_SECONDS)
            with translate_errors():
                # Not by `channel.ping`, which reconnects when it fails: so does the listener, at the same time.
                await connection.send_command("PING")
            await self.poll()
            if now() - self._heard_at > SILENCE_SECONDS:
                raise UnavailableError("Redis is away", "the subscription is silent")

    def _open(self) -> None:
        self.loss = self._told = ""
        self._is_open = True
        self._log.info("watching redis")
        self.opened()

    def _lose(self, reason: str, error: Exception, *, is_defect: bool) -> None:
        # Logged once for each outage, not for each attempt.
        if is_defect and reason != self._told:
            self._log.error("watching failed", exc_info=error)
            self._told = reason
        elif not self._told:
            self._log.warning("not watching redis", reason=reason)
            self._told = reason
        self.loss = reason

    def _close(self) -> None:
        self.losses += self._is_open
        self._is_open = False
        self.loss = self.loss or "Redis is not watched"
        self.closed()
