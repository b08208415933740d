"""Gathers events into messages. Each routing key has a queue, because all events of a message share their key."""

import asyncio
from collections.abc import Callable

from rotary.events import BATCH_CONTENT_TYPE, EVENT_CONTENT_TYPE, EVENT_TYPES, MAX_MESSAGE_BYTES, Event, EventType
from rotary.publisher.errors import PublishError
from rotary.publisher.limits import Limits
from rotary.publisher.retries import Retries


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

    def __len__(self) -> int:
        return len(self._events)

    def has_room_for(self, body: bytes) -> bool:
        """Whether the message with this event stays within 1 MiB."""
        return self._bytes + len(body) + 1 <= MAX_MESSAGE_BYTES

    def add(self, event: Event, body: bytes, future: asyncio.Future[None]) -> int:
        """Returns the number of events that the message now has."""
        self._events.append(event)
        self._bodies.append(body)
        self._futures.append(future)
        self._bytes += len(body) + 1
        return len(self._events)

    def encoded(self) -> tuple[bytes, str]:
        """The body and its content type. A single event is not encoded as a batch."""
        if len(self._bodies) == 1:
            return self._bodies[0], EVENT_CONTENT_TYPE
        return b"[%b]" % b",".join(self._bodies), BATCH_CONTENT_TYPE

    def confirm(self) -> None:
        """Resolves the future of every event, except where the caller has cancelled it."""
        for future in self._futures:
            if not future.done():
                future.set_result(None)

    def fail(self, error_class: type[PublishError], reason: str) -> PublishError:
        """Sets on each future an error that carries its own event. Returns one error that carries all of them."""
        for event, future in zip(self._events, self._futures, strict=True):
            if not future.done():
                future.set_exception(error_class((event,), reason))
        return error_class(self._events, reason)


class BatchQueue:
    """Gathers the events of one routing key. Calls `send` with each batch once it is complete.

    With nothing in flight, a batch is sent at the next turn of the event loop, so that batching does not delay a
    quiet dialer. With something in flight, it waits up to `batch_seconds` for more events.
    """

    def __init__(self, routing_key: str, limits: Limits, send: Callable[["BatchQueue", Batch], None]) -> None:
        self.in_flight = 0
        """Batches that were sent and are not finished. The publisher counts it down."""
        self.retries = Retries()
        """Decides which batch is published again when the broker did not take several."""
        self._routing_key = routing_key
        self._limits = limits
        self._send = send
        self._open: Batch | None = None
        self._timer: asyncio.Handle | None = None

    def add(self, event: Event, body: bytes) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        if self._open is not None and not self._open.has_room_for(body):
            self.flush()
        batch = self._begin(loop) if self._open is None else self._open
        if batch.add(event, body, future) >= self._limits.batch_events:
            self.flush()
        return future

    def flush(self) -> None:
        """Sends what has been gathered."""
        batch, self._open = self._open, None
        if batch is not None:
            self._cancel_timer()
            self.in_flight += 1
            self._send(self, batch)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> Batch:
        batch = self._open = Batch(self._routing_key, loop.time() + self._limits.deadline_seconds)
        if self.in_flight:
            self._timer = loop.call_later(self._limits.batch_seconds, self.flush)
        else:
            self._timer = loop.call_soon(self.flush)
        return batch

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def batch_queues(
    customer_id: int, limits: Limits, send: Callable[[BatchQueue, Batch], None]
) -> dict[EventType, BatchQueue]:
    """A queue for each event type of one customer."""
    return {kind: BatchQueue(f"{kind}.{customer_id}", limits, send) for kind in EVENT_TYPES}
