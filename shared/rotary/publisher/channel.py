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
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress

from aiormq import Channel

from rotary.events import BATCH_CONTENT_TYPE, EVENT_CONTENT_TYPE, EXCHANGE
from rotary.frame_tap import BODY, HEADER, METHOD
from rotary.publisher.errors import PublishError, RefusedError
from rotary.publisher.frames import (
    ACK,
    CHANNEL_CLOSE,
    NACK,
    RETURN,
    Closed,
    MessageFrames,
    read_close,
    read_confirm,
    read_message_number,
    read_return,
)
from rotary.publisher.wire import Wire

_OVERDUE_SECONDS = 5.0
_CLOSE_SECONDS = 3.0
_ACCESS_REFUSED, _NOT_FOUND, _PRECONDITION_FAILED = 403, 404, 406
_UNTRUSTED = "the broker did not confirm an earlier message on this channel"


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


Unconfirmed = PublishInterrupted | PublishFailed
Answer = Callable[[Unconfirmed | None], None]


class Message:
    """One publish. `answer` is called once, with None when the broker has confirmed it, unless it is withdrawn."""

    __slots__ = ("answer", "body", "channel", "content_type", "number", "sent_at")

    def __init__(self, body: bytes, content_type: str, answer: Answer) -> None:
        self.body = body
        self.content_type = content_type
        self.answer = answer
        self.channel: ConfirmedChannel | None = None
        self.number = 0
        self.sent_at = 0.0

    def frames(self) -> bytes:
        """Called when the socket takes the message."""
        assert self.channel is not None
        return self.channel.begin(self)

    def withdraw(self) -> None:
        """Ends the publish without an answer. The broker may have stored the message all the same."""
        if self.channel is not None:
            self.channel.withdraw(self)


class ConfirmedChannel:
    """Sends messages while `is_usable` is true. After that, open another.

    `confirmed` is called after each answer of the broker that confirms messages.
    """

    def __init__(self, channel: Channel, wire: Wire, routing_key: str, confirmed: Callable[[], None]) -> None:
        frame_max = channel.connection.connection_tune.frame_max
        self._frames = {
            content_type: MessageFrames(channel.number, EXCHANGE, routing_key, content_type, frame_max)
            for content_type in (EVENT_CONTENT_TYPE, BATCH_CONTENT_TYPE)
        }
        self._channel = channel
        self._wire = wire
        self._confirmed = confirmed
        self._loop = asyncio.get_running_loop()
        self._trusts_confirms = True
        self._end: Unconfirmed | None = None
        """What answers every message, because the channel is closed."""
        self._waiting: dict[Message, None] = {}
        """Messages that the socket has not taken."""
        self._sent: OrderedDict[int, Message] = OrderedDict()
        """Messages without an answer, by their delivery tags."""
        self._numbers = 0
        self._return_reason = ""
        self._newest_confirmed = 0.0
        self._last_confirm_at = self._loop.time()
        wire.tap.receivers[channel.number] = self
        channel.closing.add_done_callback(lambda _: self.abandon())

    @property
    def is_usable(self) -> bool:
        """Whether it can publish another message."""
        return self._trusts_confirms and self._end is None and not self._channel.is_closed

    def send(self, message: Message) -> None:
        """Sends the message soon. Call it only while the channel is usable."""
        message.channel = self
        self._waiting[message] = None
        self._wire.send(message)

    async def publish(self, body: bytes, content_type: str) -> None:
        """Returns when the broker has confirmed the message. Raises PublishInterrupted or PublishFailed."""
        answered: asyncio.Future[Unconfirmed | None] = self._loop.create_future()
        message = Message(body, content_type, answered.set_result)
        self.send(message)
        try:
            error = await answered
        except asyncio.CancelledError:
            message.withdraw()
            raise
        if error is not None:
            raise error.with_traceback(None)  # several messages may have the same answer

    def begin(self, message: Message) -> bytes:
        """The frames of a message that is being sent. Answers it instead if the channel can't be used any more."""
        self._waiting.pop(message)
        if not self._trusts_confirms:
            message.answer(PublishInterrupted(_UNTRUSTED, self._return_reason))
            return b""
        self._numbers += 1
        message.number = self._numbers
        message.sent_at = self._loop.time()
        self._sent[message.number] = message
        return self._frames[message.content_type].encode(message.number, message.body)

    def withdraw(self, message: Message) -> None:
        """Ends a publish without an answer."""
        if message in self._waiting:
            del self._waiting[message]
            self._wire.withdraw(message)
        elif self._sent.pop(message.number, None) is not None:
            self._trusts_confirms = False

    def is_overdue(self, now: float) -> bool:
        """Whether the broker will never answer some publish. In the case above it neither confirms nor returns it.

        Age alone is no sign of that, because thousands may be on their way. A publish is overdue when later ones are
        confirmed, or when no confirm arrives at all.
        """
        oldest = next((message.sent_at for message in self._sent.values()), now)
        silent = now - self._last_confirm_at > _OVERDUE_SECONDS
        return now - oldest > _OVERDUE_SECONDS and (silent or oldest < self._newest_confirmed)

    def receive(self, kind: int, data: bytes, begin: int, end: int) -> bool:
        """Takes the broker's answers. Content comes only after a basic.return."""
        if kind == METHOD:
            return self._receive_method(data[begin : begin + 4], data, begin)
        if kind == HEADER:
            self._returned(read_message_number(data, begin, end))
        return kind in (HEADER, BODY)

    def _receive_method(self, method: bytes, data: bytes, begin: int) -> bool:
        if method == ACK:
            self._acknowledged(*read_confirm(data, begin))
        elif method == NACK:
            self._refused(*read_confirm(data, begin))
        elif method == RETURN:
            self._return_reason = read_return(data, begin)
        else:
            if method == CHANNEL_CLOSE:
                # Nothing may be written to the channel once aiormq has agreed to close it.
                self._finish(_closing_error(read_close(data, begin)))
            return False
        return True

    def _acknowledged(self, number: int, multiple: bool) -> None:  # noqa: FBT001 - as the broker says it
        taken = self._take(number, multiple)
        error = None if self._trusts_confirms else PublishInterrupted(_UNTRUSTED)
        for message in taken:
            message.answer(error)
        if taken and error is None:
            self._last_confirm_at = self._loop.time()
            self._newest_confirmed = max(self._newest_confirmed, taken[-1].sent_at)
            self._confirmed()

    def _refused(self, number: int, multiple: bool) -> None:  # noqa: FBT001 - as the broker says it
        error = PublishInterrupted("the broker did not accept the message")
        self._trusts_confirms = False
        for message in self._take(number, multiple):
            message.answer(error)

    def _returned(self, number: int | None) -> None:
        error = PublishInterrupted(return_reason=self._return_reason)
        self._trusts_confirms = False
        if number is not None and (message := self._sent.pop(number, None)) is not None:
            message.answer(error)

    def _take(self, number: int, multiple: bool) -> list[Message]:  # noqa: FBT001 - as the broker says it
        if not multiple:
            message = self._sent.pop(number, None)
            return [] if message is None else [message]
        taken = []
        while self._sent and next(iter(self._sent)) <= number:
            taken.append(self._sent.popitem(last=False)[1])
        return taken

    def abandon(self) -> None:
        """Answers every message: the channel or its connection is gone."""
        self._finish(PublishInterrupted())

    async def close(self) -> None:
        """Answers every message and closes the channel."""
        self.abandon()
        with suppress(Exception):
            await self._channel.close(timeout=_CLOSE_SECONDS)

    def _finish(self, error: Unconfirmed) -> None:
        self._end = self._end or error
        waiting, self._waiting = self._waiting, {}
        sent, self._sent = self._sent, OrderedDict()
        for message in waiting:
            self._wire.withdraw(message)
        for message in (*sent.values(), *waiting):
            message.answer(error)


def _closing_error(closed: Closed) -> Unconfirmed:
    if closed.code == _NOT_FOUND:
        return PublishInterrupted(return_reason=closed.text)
    if closed.code in (_ACCESS_REFUSED, _PRECONDITION_FAILED):
        return PublishFailed(RefusedError, closed.text)
    return PublishInterrupted(closed.text)
