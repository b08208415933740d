"""Watching Redis: a subscription to changes, and polls that find what no message tells."""

import asyncio
from abc import ABC, abstractmethod

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from rotary.errors import RotaryError, UnavailableError
from rotary.redis import keys
from rotary.redis.connection import translate_errors
from rotary.runtime.program import cancel_and_wait

POLL_SECONDS = 0.4
"""A FLUSHALL breaks no connection and publishes nothing: only asking finds it."""
SILENCE_SECONDS = 1.5
"""The subscription answers a ping at each poll; silence for longer means that it is lost."""
RETRY_SECONDS = 0.25


class ChangeWatch(ABC):
    """Opens mirrors when the subscription works, keeps them up to date, and closes them when it may miss some.

    What the mirrors are, a subclass knows.
    """

    def __init__(self, client: Redis, program: str) -> None:
        self._client = client
        self._log = structlog.get_logger(program)
        self._heard_at = 0.0
        self.loss = "Redis has not answered yet"
        """Why there is no subscription; empty while there is one."""
        self._told = ""
        self._is_open = False
        self.losses = 0
        """How often a subscription was lost."""
        self.changes_heard = 0

    @property
    def is_subscribed(self) -> bool:
        """Whether every change is heard."""
        return not self.loss

    @abstractmethod
    async def poll(self) -> None:
        """Asks for what no message tells. Raises UnavailableError."""

    @abstractmethod
    def hear(self, data: bytes) -> None:
        """Takes in a message."""

    @abstractmethod
    def opened(self) -> None:
        """From here on every change is heard; `poll` has been called once since."""

    @abstractmethod
    def closed(self) -> None:
        """Changes may be missed."""

    def subscribed(self) -> None:  # noqa: B027  # a hook
        """The subscription works; `poll` is called next."""

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

    async def _watch(self, channel: PubSub) -> None:
        """Returns never. Raises what ended the subscription or the polls."""
        await self._subscribe(channel)
        self.subscribed()
        await self.poll()
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
                self.changes_heard += 1
                self.hear(message["data"])

    async def _poll_forever(self, channel: PubSub) -> None:
        now = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(POLL_SECONDS)
            with translate_errors():
                await channel.ping()
            await self.poll()
            if now() - self._heard_at > SILENCE_SECONDS:
                raise UnavailableError("Redis is away", "the subscription is silent")

    def _open(self) -> None:
        self.loss = self._told = ""
        self._is_open = True
        self._log.info("watching redis")
        self.opened()

    def _lose(self, reason: str, error: Exception, *, is_defect: bool) -> None:
        # Once an outage, not once an attempt.
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
