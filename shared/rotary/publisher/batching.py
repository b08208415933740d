"""Gathers events into messages. Each routing key has a queue, because all events of a message share their key."""

import asyncio
from collections.abc import Callable, Sized

from rotary.events import BATCH_CONTENT_TYPE, EVENT_CONTENT_TYPE, MAX_MESSAGE_BYTES, Event
from rotary.publisher.errors import PublishError
from rotary.publisher.limits import Limits


class Batch:
    """Events that are published in one message, each with the future of its caller."""

    def __init__(self, routing_key: str, deadline: float) -> None:
        self.routing_key = routing_key
        self.deadline = deadline
        """The deadline of the first event, in the event loop's time. The last is at most `batch_seconds` younger."""
        self.return_reason = ""
        """Why the broker returned the message, if that was its last answer."""
        self._events: list[Event] = []
        self._bodies: list[bytes] = []
        self._futures: list[asyncio.Future[None]] = []
        self._bytes = 2
        self._outcome: asyncio.Future[PublishError | None] | None = None

    def __len__(self) -> int:
        return len(self._events)

    def add(self, event: Event, body: bytes, future: asyncio.Future[None]) -> int:
        """Returns the number of events that the message now has. 0 if this event would make it larger than 1 MiB."""
        size = self._bytes + len(body) + 1
        if size > MAX_MESSAGE_BYTES and self._events:
            return 0
        self._bytes = size
        self._events.append(event)
        self._bodies.append(body)
        self._futures.append(future)
        return len(self._events)

    def encoded(self) -> tuple[bytes, str]:
        """The body and its content type. A single event is not encoded as a batch. No event can be added any more."""
        if len(self._events) == 1:
            return self._bodies[0], EVENT_CONTENT_TYPE
        if len(self._bodies) > 1:
            self._bodies = [b"[%b]" % b",".join(self._bodies)]
        return self._bodies[0], BATCH_CONTENT_TYPE

    def outcome(self) -> asyncio.Future[PublishError | None]:
        """Is done when the batch is confirmed or has failed. Do not cancel it: others may wait for it."""
        if self._outcome is None:
            self._outcome = asyncio.get_running_loop().create_future()
        return self._outcome

    def confirm(self) -> None:
        """Resolves the future of every event, except where the caller has cancelled it."""
        for future in self._futures:
            if not future.done():
                future.set_result(None)
        self._decide(None)

    def fail(self, error_class: type[PublishError], reason: str) -> PublishError:
        """Sets on each future an error that carries its own event. Returns one error that carries all of them."""
        for event, future in zip(self._events, self._futures, strict=True):
            if not future.done():
                future.set_exception(error_class((event,), reason))
        error = error_class(self._events, reason)
        self._decide(error)
        return error

    def _decide(self, error: PublishError | None) -> None:
        if self._outcome is not None:
            self._outcome.set_result(error)


class BatchQueue:
    """Gathers the events of one routing key. Calls `send` with each batch once it is complete.

    With nothing in flight, a batch is sent at the next turn of the event loop, so that batching does not delay a
    quiet dialer. With something in flight, it waits up to `batch_seconds` for more events.
    """

    def __init__(self, routing_key: str, limits: Limits, send: Callable[[Batch], None], in_flight: Sized) -> None:
        self._routing_key = routing_key
        self._limits = limits
        self._send = send
        self._in_flight = in_flight
        self._open: Batch | None = None
        self._timer: asyncio.Handle | None = None

    def add(self, event: Event, body: bytes) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        batch = self._begin(loop) if self._open is None else self._open
        count = batch.add(event, body, future)
        if not count:
            self.flush()
            batch = self._begin(loop)
            count = batch.add(event, body, future)
        if count >= self._limits.batch_events:
            self.flush()
        elif count == 1:
            self._flush_later(loop)
        return future

    def flush(self) -> None:
        """Sends what has been gathered."""
        batch, self._open = self._open, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if batch is not None:
            self._send(batch)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> Batch:
        self._open = Batch(self._routing_key, loop.time() + self._limits.deadline_seconds)
        return self._open

    def _flush_later(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._in_flight:
            self._timer = loop.call_later(self._limits.batch_seconds, self.flush)
        else:
            self._timer = loop.call_soon(self.flush)
