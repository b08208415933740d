"""One confirmed channel for one routing key, whose confirms can be believed.

A confirm of RabbitMQ 3.10.8 is not always one. When a stream gets a new leader, as it does just after a broker's
start, the broker sends the stream again what is pending, numbered as the channel counts. The stream counts only what it
was given. Where the two differ, because the channel had a message returned or feeds two streams, the stream takes what
comes next for duplicates: it confirms them and stores nothing (seen: 586 events of 3,919; rabbitmq-server #12236 mends
it in 4.0). Hence a channel carries one routing key, which one log takes, and is used up by the first publish on it that
is not confirmed: what is confirmed later on the same channel does not count, and is published again on another.
"""

import asyncio
from contextlib import suppress
from itertools import count
from typing import NamedTuple

import aiormq
from aiormq import Channel
from pamqp.commands import Basic

from rotary.amqp import words
from rotary.events import EXCHANGE
from rotary.publisher.errors import PublishError, RefusedError

_OVERDUE_SECONDS = 5.0
_CLOSE_SECONDS = 3.0


class Interrupted(Exception):  # noqa: N818 - no error: the publish is to be tried again
    """The channel or the connection went away under a publish, or the broker could not take it for the moment.

    `unroutable` is not empty when the broker returned the message because nothing would receive it. Of what we publish
    that is never final: a stream that is still starting takes nothing yet, and a missing one is declared again.
    `trouble` is what happened, where it is known, in the broker's words.
    """

    def __init__(self, trouble: str = "", unroutable: str = "") -> None:
        super().__init__(trouble or unroutable)
        self.trouble = trouble
        self.unroutable = unroutable


class Rejected(Exception):  # noqa: N818 - becomes the PublishError it names, once the events are known
    """The broker gave its answer, and trying again would bring the same one."""

    def __init__(self, kind: type[PublishError], reason: str) -> None:
        super().__init__(kind, reason)
        self.kind = kind
        self.reason = reason


class _Publish(NamedTuple):
    begun: float
    message_id: str
    answered: asyncio.Future[None]


class Line:
    """Publishes until it is used up: `is_open` says so, and another is to be opened."""

    def __init__(self, channel: Channel, routing_key: str) -> None:
        self._channel = channel
        self._routing_key = routing_key
        self._is_believed = True
        self._publishing: dict[asyncio.Task[object], _Publish] = {}
        self._message_ids = count(1)
        self._confirmed_begun = 0.0
        self._confirmed_at = asyncio.get_running_loop().time()

    @property
    def is_open(self) -> bool:
        """Whether it can carry another message."""
        return self._is_believed and not self._channel.is_closed

    async def publish(self, body: bytes, content_type: str) -> None:
        """Returns when the broker has confirmed. Call it in a task of its own. Raises Interrupted or Rejected."""
        loop = asyncio.get_running_loop()
        begun, message_id, answered = loop.time(), str(next(self._message_ids)), loop.create_future()
        properties = Basic.Properties(content_type=content_type, delivery_mode=2, message_id=message_id)
        task: asyncio.Task[object] = asyncio.ensure_future(
            self._channel.basic_publish(
                body,
                exchange=EXCHANGE,
                routing_key=self._routing_key,
                properties=properties,
                mandatory=True,
                wait=False,
            )
        )
        self._publishing[task] = _Publish(begun, message_id, answered)
        task.add_done_callback(self._done)
        try:
            await answered
        except asyncio.CancelledError:
            self._is_believed = False
            self._cancel(task)
            raise
        if task.cancelled():
            self._is_believed = False
            raise Interrupted
        if (error := task.exception()) is not None:
            self._is_believed = False
            raise self._judged(error)
        if not self._is_believed:
            raise Interrupted("the broker did not take others")
        self._confirmed_begun = max(self._confirmed_begun, begun)
        self._confirmed_at = loop.time()

    def is_overdue(self, now: float) -> bool:
        """Whether the broker will not answer for something: in the case above some is neither confirmed nor returned.

        Age alone says nothing, because thousands may queue here. Later ones are confirmed, though, or none is at all.
        """
        oldest = next((publish.begun for publish in self._publishing.values()), now)
        silent = now - self._confirmed_at > _OVERDUE_SECONDS
        return now - oldest > _OVERDUE_SECONDS and (silent or oldest < self._confirmed_begun)

    async def close(self) -> None:
        """Interrupts what is under way, and closes the channel."""
        self._is_believed = False
        for task in list(self._publishing):
            self._cancel(task)
        with suppress(Exception):
            await self._channel.close(timeout=_CLOSE_SECONDS)

    async def abandon(self, seconds: float) -> None:
        """Returns when nothing is under way any more, the connection having been lost; after `seconds` at the latest.

        aiormq tells nearly every publish what happened. One that stands before its full write queue, which nobody
        empties any more, would wait for ever.
        """
        if self._publishing:
            await asyncio.wait(self._publishing, timeout=seconds)
        for task in list(self._publishing):
            self._cancel(task)

    def _cancel(self, task: asyncio.Task[object]) -> None:
        """Cancels a publish. Never by cancelling what awaits it, which therefore awaits a future of its own.

        aiormq fails a publish whose message is returned, also one that was cancelled just before: its reader of the
        channel breaks at that, and that of the connection waits for it until the heartbeat is overdue. It looks a
        message up by its id, and passes over one that it does not find.
        """
        if (publish := self._publishing.get(task)) is not None:
            self._channel.message_id_delivery_tag.pop(publish.message_id, None)
            task.cancel()

    def _done(self, task: asyncio.Task[object]) -> None:
        answered = self._publishing.pop(task).answered
        if not answered.done():
            answered.set_result(None)
        elif not task.cancelled():
            task.exception()  # nobody waits for it any more

    def _judged(self, error: BaseException) -> Interrupted | Rejected:
        said = words(error)
        match error:
            case aiormq.PublishError() | aiormq.ChannelNotFoundEntity():
                return Interrupted(unroutable=said)
            case aiormq.ChannelAccessRefused() | aiormq.ChannelPreconditionFailed():
                return Rejected(RefusedError, said)
            case aiormq.DeliveryError():
                return Interrupted("the broker did not accept it")
        return Interrupted(said)
