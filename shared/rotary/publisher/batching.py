"""Gathers events into messages: one lane a routing key, because all events of a message share their key."""

import asyncio
from collections.abc import Callable

from rotary.events import BATCH_CONTENT_TYPE, EVENT_CONTENT_TYPE, EVENT_TYPES, MAX_MESSAGE_BYTES, Event, EventType
from rotary.publisher.errors import PublishError
from rotary.publisher.limits import Limits
from rotary.publisher.retries import Retries


class Message:
    """Events that travel together, each with the future that tells what became of it."""

    def __init__(self, routing_key: str, deadline: float) -> None:
        self.routing_key = routing_key
        self.deadline = deadline
        """In the event loop's time: that of its first event, which is at most `batch_seconds` older than its last."""
        self.unroutable = ""
        """Why no log took it, if that is what the broker said last."""
        self._events: list[Event] = []
        self._bodies: list[bytes] = []
        self._futures: list[asyncio.Future[None]] = []
        self._bytes = 2

    def __len__(self) -> int:
        return len(self._events)

    def has_room_for(self, body: bytes) -> bool:
        """Whether the message with this event stays within 1 MiB."""
        return self._bytes + len(body) + 1 <= MAX_MESSAGE_BYTES

    def add(self, event: Event, body: bytes, future: asyncio.Future[None]) -> int:
        """Returns how many events the message has now."""
        self._events.append(event)
        self._bodies.append(body)
        self._futures.append(future)
        self._bytes += len(body) + 1
        return len(self._events)

    def encoded(self) -> tuple[bytes, str]:
        """The body and its content type: a lone event is a message of its own kind, not a batch of one."""
        if len(self._bodies) == 1:
            return self._bodies[0], EVENT_CONTENT_TYPE
        return b"[%b]" % b",".join(self._bodies), BATCH_CONTENT_TYPE

    def confirm(self) -> None:
        """Every event's future is done, unless its owner stopped waiting."""
        for future in self._futures:
            if not future.done():
                future.set_result(None)

    def fail(self, kind: type[PublishError], reason: str) -> PublishError:
        """Every event's future raises an error that carries that event alone. Returns one that carries them all."""
        for event, future in zip(self._events, self._futures, strict=True):
            if not future.done():
                future.set_exception(kind((event,), reason))
        return kind(self._events, reason)


class Lane:
    """The events of one routing key on their way into messages; `send` is given each message once it is closed.

    With nothing in flight a message leaves at the next turn of the event loop, so that a quiet dialer pays nothing for
    batching. With something in flight it waits up to `batch_seconds` for company.
    """

    def __init__(self, routing_key: str, limits: Limits, send: Callable[["Lane", Message], None]) -> None:
        self.in_flight = 0
        """Messages sent and not yet settled; the sender keeps it."""
        self.retries = Retries()
        """Which of them is published again, when the broker did not take them."""
        self._routing_key = routing_key
        self._limits = limits
        self._send = send
        self._open: Message | None = None
        self._timer: asyncio.Handle | None = None

    def add(self, event: Event, body: bytes) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        if self._open is not None and not self._open.has_room_for(body):
            self.flush()
        message = self._begin(loop) if self._open is None else self._open
        if message.add(event, body, future) >= self._limits.batch_events:
            self.flush()
        return future

    def flush(self) -> None:
        """Sends what has been gathered."""
        message, self._open = self._open, None
        if message is not None:
            self._cancel_timer()
            self.in_flight += 1
            self._send(self, message)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> Message:
        message = self._open = Message(self._routing_key, loop.time() + self._limits.deadline_seconds)
        if self.in_flight:
            self._timer = loop.call_later(self._limits.batch_seconds, self.flush)
        else:
            self._timer = loop.call_soon(self.flush)
        return message

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def lanes(customer_id: int, limits: Limits, send: Callable[[Lane, Message], None]) -> dict[EventType, Lane]:
    """A lane for each type of event of one customer."""
    return {kind: Lane(f"{kind}.{customer_id}", limits, send) for kind in EVENT_TYPES}
