"""The publisher for dialers that run on asyncio."""

import asyncio
from datetime import datetime
from ssl import SSLContext
from types import TracebackType
from typing import Self

from rotary.clock import Clock
from rotary.events import EVENTS, CallPlaced, CarrierFlag, CooldownCleared, Event, FlagKind
from rotary.publisher.batching import Batch, BatchQueue
from rotary.publisher.capacity import Capacity
from rotary.publisher.connection import Connection
from rotary.publisher.delivery import Deliveries
from rotary.publisher.errors import BacklogFullError, ClosedError, DeadlineError, PublishError, merge_errors
from rotary.publisher.event_factory import EventFactory, encode_checked
from rotary.publisher.failure_log import FailureLog
from rotary.publisher.limits import DEFAULT_LIMITS, Limits


class Publisher:
    """Publishes one customer's events, each confirmed by the broker, many to a message.

    `url` is `amqp://user:password@host/` or `amqps://…`. Name your own certificate authority in it with
    `?cafile=PATH`, or pass an `ssl_context`. `customer_id` is your customer number in Rotary; the broker lets your user
    publish only that customer's events. `source` names the dialer, for example `/dialers/hcm-1`; (source, id) is the
    identity of an event. One publisher per process is enough.

    Entering the context connects. It raises UnavailableError when there is no broker within `limits.deadline_seconds`,
    and at once RefusedError when the broker refuses the login, or ConfigurationError when its certificate is untrusted.
    Leaving the context publishes what is outstanding, and raises one PublishError with every event that was not
    confirmed meanwhile.
    """

    def __init__(
        self,
        url: str,
        *,
        customer_id: int,
        source: str,
        limits: Limits = DEFAULT_LIMITS,
        clock: Clock | None = None,
        ssl_context: SSLContext | None = None,
    ) -> None:
        self.events = EventFactory(source, clock)
        """Makes the events for `submit` and `publish`."""
        self.confirmed = 0
        """Events confirmed so far."""
        self.undelivered = 0
        """Events returned in an error so far."""
        self._limits = limits
        self._connection = Connection(url, ssl_context)
        self._failures = FailureLog()
        self._capacity = Capacity(limits.outstanding_events)
        self._deliveries: list[Deliveries] = []
        self._queues = {spec.event_class: self._queue(f"{kind}.{customer_id}") for kind, spec in EVENTS.items()}
        self._open = False

    async def __aenter__(self) -> Self:
        await self._connection.open(self._limits.deadline_seconds)
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        try:
            await self.flush()
        except PublishError as undelivered:
            if error is None:
                raise
            # The caller's own error matters more than what failed while leaving.
            error.add_note(str(undelivered))
        finally:
            # Something is under way only when this was itself cancelled.
            await asyncio.gather(*(deliveries.abandon() for deliveries in self._deliveries))
            self._failures.close()
            await self._connection.close()

    @property
    def outstanding(self) -> int:
        """Events accepted and not yet confirmed."""
        return self._capacity.used

    async def call_placed(
        self,
        caller_id_id: int,
        group_id: int | None = None,
        lead_id: str | None = None,
        *,
        pick_id: str | None = None,
        time: datetime | None = None,
        event_id: str | None = None,
    ) -> CallPlaced:
        """Publishes one outbound call that showed this caller ID. Returns the confirmed event.

        `pick_id` is the id of the pick that the call was placed with, if `rotary.engine` made one: its reservation
        becomes this call. `time` needs an offset, defaults to now, and may be up to 48 h ago. `event_id` defaults to a
        new UUIDv7.
        Raises as `publish` does.
        """
        event = self.events.call_placed(caller_id_id, group_id, lead_id, pick_id=pick_id, time=time, event_id=event_id)
        await self.publish(event)
        return event

    async def carrier_flag(
        self,
        caller_id_id: int,
        kind: FlagKind,
        carrier: str | None = None,
        code: str | int | None = None,
        note: str | None = None,
        *,
        time: datetime | None = None,
        event_id: str | None = None,
    ) -> CarrierFlag:
        """Publishes a carrier's flag against this caller ID. Returns the confirmed event.

        `time` needs an offset, defaults to now, and may be up to 30 days ago. `event_id` defaults to a new UUIDv7.
        Raises as `publish` does.
        """
        event = self.events.carrier_flag(caller_id_id, kind, carrier, code, note, time=time, event_id=event_id)
        await self.publish(event)
        return event

    async def cooldown_cleared(
        self, caller_id_id: int, *, time: datetime | None = None, event_id: str | None = None
    ) -> CooldownCleared:
        """Ends the cooldown caused by flags up to `time`, which defaults to now. Returns the confirmed event.

        Raises as `publish` does.
        """
        event = self.events.cooldown_cleared(caller_id_id, time=time, event_id=event_id)
        await self.publish(event)
        return event

    async def publish(self, event: Event) -> None:
        """Returns when the broker has confirmed the event. Cancelling the wait does not recall the event.

        Raises EventRefusedError when the event breaks its type's contract, DeadlineError when no confirm came in time,
        UnroutableError when no log took the event in time, RefusedError when the broker does not permit it,
        BacklogFullError when too many events are outstanding and `limits.when_full` is "raise", and ClosedError outside
        `async with`.
        """
        if not self._open:
            raise self._closed(event)
        body = encode_checked(event)
        if not self._capacity.try_acquire():
            await self._acquire_capacity(event)
        await self._queues[type(event)].add(event, body)

    def submit(self, event: Event) -> asyncio.Future[None]:
        """Accepts the event and returns at once. The future is done when the broker has confirmed the event.

        Raises EventRefusedError, ClosedError, and BacklogFullError when too many events are outstanding, whatever
        `limits.when_full` says. To wait instead, `await publisher.wait_for_capacity()` first. The future raises the
        other errors of `publish`.
        """
        if not self._open:
            raise self._closed(event)
        body = encode_checked(event)
        if not self._capacity.try_acquire():
            raise self._full(event)
        return self._queues[type(event)].add(event, body)

    def submit_encoded(self, event: Event, body: bytes) -> asyncio.Future[None]:
        """Like `submit`, for an event whose `body` is already encoded and checked."""
        if not self._open:
            raise self._closed(event)
        if not self._capacity.try_acquire():
            raise self._full(event)
        return self._queues[type(event)].add(event, body)

    async def wait_for_capacity(self) -> None:
        """Returns when another event can be accepted."""
        await self._capacity.acquire()
        self._capacity.release(1)

    async def flush(self) -> None:
        """Returns when all accepted events are confirmed. Raises one PublishError with every event that was not."""
        for queue in self._queues.values():
            queue.flush()
        outcomes = [outcome for deliveries in self._deliveries for outcome in deliveries.outcomes()]
        if outcomes:
            await asyncio.wait(outcomes)
        if errors := [error for outcome in outcomes if (error := outcome.result()) is not None]:
            raise merge_errors(errors)

    async def _acquire_capacity(self, event: Event) -> None:
        if self._limits.when_full == "raise":
            raise self._full(event)
        try:
            async with asyncio.timeout(self._limits.deadline_seconds):
                await self._capacity.acquire()
        except TimeoutError:
            self.undelivered += 1
            reason = f"too many events outstanding for {self._limits.deadline_seconds:g} s"
            raise DeadlineError((event,), reason) from None
        if not self._open:
            self._capacity.release(1)
            raise ClosedError((event,), "the publisher was closed before the event could be accepted")

    def _closed(self, event: Event) -> ClosedError:
        return ClosedError((event,), "the publisher is not open: use it inside its `async with`")

    def _full(self, event: Event) -> BacklogFullError:
        return BacklogFullError((event,), f"{self._capacity.used:,} events are outstanding, the maximum")

    def _queue(self, routing_key: str) -> BatchQueue:
        deliveries = Deliveries(routing_key, self._connection, self._limits.deadline_seconds, self._finished)
        self._deliveries.append(deliveries)
        return BatchQueue(routing_key, self._limits, deliveries.start, in_flight=deliveries)

    def _finished(self, batch: Batch, error: PublishError | None) -> None:
        self._capacity.release(len(batch))
        if error is None:
            self.confirmed += len(batch)
        else:
            self.undelivered += len(batch)
            self._failures.add(error)
