"""A channel with publisher confirms for one routing key. It is replaced after the first publish that is not confirmed.

RabbitMQ before 4.0 can confirm a message that it does not store. When a stream gets a new leader, for instance just
after the broker has started, the broker sends pending messages to the stream again, with the channel's sequence
numbers. The stream counts only the messages that it was given. The two counts differ when the channel had a message
returned, or when it feeds two streams. The stream then takes the next messages for duplicates: it confirms them and
stores nothing (measured on 3.10.8: 586 events of 3,919; fixed by rabbitmq-server #12236).

A channel therefore carries one routing key, which one log takes. After a publish that is not confirmed, later confirms
on the same channel do not count, and their messages are published again on a new channel.
"""

import asyncio
from contextlib import suppress
from itertools import count
from typing import NamedTuple

import aiormq
from aiormq import Channel
from pamqp.commands import Basic

from rotary.amqp import error_text
from rotary.events import EXCHANGE
from rotary.publisher.errors import PublishError, RefusedError

_OVERDUE_SECONDS = 5.0
_CLOSE_SECONDS = 3.0


class PublishInterrupted(Exception):  # noqa: N818 - not a failure: the message is published again
    """The channel or the connection was lost during a publish, or the broker did not accept the message.

    `return_reason` is set when the broker returned the message because no queue receives it. A return is never final: a
    stream that is still starting receives nothing yet, and a missing stream is declared again. `detail` is the broker's
    message for any other cause, if there is one.
    """

    def __init__(self, detail: str = "", return_reason: str = "") -> None:
        super().__init__(detail or return_reason)
        self.detail = detail
        self.return_reason = return_reason


class PublishFailed(Exception):  # noqa: N818 - becomes an `error_class` once the events are known
    """The broker refused the message, and would refuse it again."""

    def __init__(self, error_class: type[PublishError], reason: str) -> None:
        super().__init__(error_class, reason)
        self.error_class = error_class
        self.reason = reason


class _Publish(NamedTuple):
    started_at: float
    message_id: str
    answered: asyncio.Future[None]


class ConfirmedChannel:
    """Publishes while `is_usable` is true. After that, open another."""

    def __init__(self, channel: Channel, routing_key: str) -> None:
        self._channel = channel
        self._routing_key = routing_key
        self._trusts_confirms = True
        self._publishing: dict[asyncio.Task[object], _Publish] = {}
        self._message_ids = count(1)
        self._newest_confirmed_start = 0.0
        self._last_confirm_at = asyncio.get_running_loop().time()

    @property
    def is_usable(self) -> bool:
        """Whether it can publish another message."""
        return self._trusts_confirms and not self._channel.is_closed

    async def publish(self, body: bytes, content_type: str) -> None:
        """Returns when the broker has confirmed the message. Call it in a task of its own.

        Raises PublishInterrupted or PublishFailed.
        """
        loop = asyncio.get_running_loop()
        started_at, message_id, answered = loop.time(), str(next(self._message_ids)), loop.create_future()
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
        self._publishing[task] = _Publish(started_at, message_id, answered)
        task.add_done_callback(self._done)
        try:
            await answered
        except asyncio.CancelledError:
            self._trusts_confirms = False
            self._cancel(task)
            raise
        if task.cancelled():
            self._trusts_confirms = False
            raise PublishInterrupted
        if (error := task.exception()) is not None:
            self._trusts_confirms = False
            raise self._translate(error)
        if not self._trusts_confirms:
            raise PublishInterrupted("the broker did not confirm an earlier message on this channel")
        self._newest_confirmed_start = max(self._newest_confirmed_start, started_at)
        self._last_confirm_at = loop.time()

    def is_overdue(self, now: float) -> bool:
        """Whether the broker will never answer some publish. In the case above it neither confirms nor returns it.

        Age alone is no sign of that, because thousands may be queued here. A publish is overdue when later ones are
        confirmed, or when no confirm arrives at all.
        """
        oldest = next((publish.started_at for publish in self._publishing.values()), now)
        silent = now - self._last_confirm_at > _OVERDUE_SECONDS
        return now - oldest > _OVERDUE_SECONDS and (silent or oldest < self._newest_confirmed_start)

    async def close(self) -> None:
        """Cancels running publishes and closes the channel."""
        self._trusts_confirms = False
        for task in list(self._publishing):
            self._cancel(task)
        with suppress(Exception):
            await self._channel.close(timeout=_CLOSE_SECONDS)

    async def abandon(self, seconds: float) -> None:
        """Ends running publishes after the connection was lost. Returns after `seconds` at the latest.

        aiormq fails nearly every running publish. A publish that waits for space in the write queue would wait forever,
        because nothing drains that queue any more.
        """
        if self._publishing:
            await asyncio.wait(self._publishing, timeout=seconds)
        for task in list(self._publishing):
            self._cancel(task)

    def _cancel(self, task: asyncio.Task[object]) -> None:
        """Cancels a publish without breaking aiormq's reader.

        aiormq fails the publish of a returned message even if it was cancelled just before. That error stops the
        channel's reader, and the connection then hangs until its heartbeat is overdue. aiormq finds a message by its id
        and ignores an id that it does not find, so the id is removed first. For the same reason the caller awaits a
        future of its own and not the publish.
        """
        if (publish := self._publishing.get(task)) is not None:
            self._channel.message_id_delivery_tag.pop(publish.message_id, None)
            task.cancel()

    def _done(self, task: asyncio.Task[object]) -> None:
        answered = self._publishing.pop(task).answered
        if not answered.done():
            answered.set_result(None)
        elif not task.cancelled():
            task.exception()  # its caller is gone; mark it as retrieved

    def _translate(self, error: BaseException) -> PublishInterrupted | PublishFailed:
        text = error_text(error)
        match error:
            case aiormq.PublishError() | aiormq.ChannelNotFoundEntity():
                return PublishInterrupted(return_reason=text)
            case aiormq.ChannelAccessRefused() | aiormq.ChannelPreconditionFailed():
                return PublishFailed(RefusedError, text)
            case aiormq.DeliveryError():
                return PublishInterrupted("the broker did not accept the message")
        return PublishInterrupted(text)
