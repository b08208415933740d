"""The publisher of a dialer that runs on asyncio."""

import asyncio
from datetime import datetime
from ssl import SSLContext
from types import TracebackType
from typing import Self

from rotary.clock import Clock
from rotary.events import (
    CallPlaced,
    CarrierFlag,
    CooldownCleared,
    Event,
    FlagKind,
    event_type,
)
from rotary.publisher.batching import Lane, Message, lanes
from rotary.publisher.errors import BacklogFullError, ClosedError, DeadlineError, PublishError, UnroutableError, merged
from rotary.publisher.failure_log import FailureLog
from rotary.publisher.limits import DEFAULT_LIMITS, Limits
from rotary.publisher.channel import Interrupted, Rejected
from rotary.publisher.connection import Link
from rotary.publisher.capacity import Room
from rotary.publisher.event_factory import EventFactory, encode_checked


class Publisher:
    """Publishes one customer's events, each confirmed by the broker, many to a message.

    `url` is `amqp://user:password@host/` or `amqps://…`; a certificate authority of your own comes in it, as
    `?cafile=PATH`, or as `ssl_context`. `customer_id` is your number with Rotary: the broker lets your user write that
    customer's events alone. `source` names the dialer, for example `/dialers/hcm-1`; (source, id) is an event's
    identity. One publisher serves a process.

    Entering connects, and raises UnavailableError after `limits.deadline_seconds` without a broker, and at once
    RefusedError when the login is refused, ConfigurationError when the broker's certificate is not believed. Leaving
    publishes what is outstanding, and raises one PublishError with every event that could not be delivered in that.
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
        """Makes events for `submit` and `publish`."""
        self.confirmed = 0
        """Events confirmed so far."""
        self.undelivered = 0
        """Events given back in an error so far."""
        self._limits = limits
        self._link = Link(url, ssl_context)
        self._failures = FailureLog()
        self._room = Room(limits.outstanding_events)
        self._lanes = lanes(customer_id, limits, self._send)
        self._sending: set[asyncio.Task[PublishError | None]] = set()
        self._open = False

    async def __aenter__(self) -> Self:
        await self._link.open(self._limits.deadline_seconds)
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
            # What made the caller leave is not to be hidden by what happened on the way out.
            error.add_note(str(undelivered))
        finally:
            await self._abandon()
            self._failures.close()
            await self._link.close()

    @property
    def outstanding(self) -> int:
        """Events accepted and not yet confirmed."""
        return self._room.taken

    async def call_placed(
        self,
        caller_id_id: int,
        group_id: int | None = None,
        lead_id: str | None = None,
        *,
        time: datetime | None = None,
        event_id: str | None = None,
    ) -> CallPlaced:
        """Tells of one outbound call that showed this caller ID; returns the event, confirmed. Raises as `publish`.

        `time` (with an offset, default now) may lie up to 48 h back; `event_id` defaults to a new UUIDv7.
        """
        event = self.events.call_placed(caller_id_id, group_id, lead_id, time=time, event_id=event_id)
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
        """Tells of a sign against this caller ID; returns the event, confirmed. Raises as `publish`.

        `time` (with an offset, default now) may lie up to 30 days back; `event_id` defaults to a new UUIDv7.
        """
        event = self.events.carrier_flag(caller_id_id, kind, carrier, code, note, time=time, event_id=event_id)
        await self.publish(event)
        return event

    async def cooldown_cleared(
        self, caller_id_id: int, *, time: datetime | None = None, event_id: str | None = None
    ) -> CooldownCleared:
        """Ends the rest that flags up to `time` (default now) cause; returns the event, confirmed.

        Raises as `publish`.
        """
        event = self.events.cooldown_cleared(caller_id_id, time=time, event_id=event_id)
        await self.publish(event)
        return event

    async def publish(self, event: Event) -> None:
        """Returns when the broker has confirmed the event. Giving up waiting does not take the event back.

        Raises EventRefusedError when it breaks its type's contract, DeadlineError when no confirmation came in time,
        UnroutableError when no log took it until then, RefusedError when the broker does not permit it,
        BacklogFullError when too much is outstanding and `limits.when_full` is "raise", and ClosedError outside
        `async with`.
        """
        body = self._checked(event)
        if not self._room.try_take():
            await self._wait_for_room(event)
        await self._accept(event, body)

    def submit(self, event: Event) -> asyncio.Future[None]:
        """Accepts the event and returns at once; the future is done when the broker has confirmed it.

        Raises EventRefusedError, ClosedError, and BacklogFullError when too much is outstanding, whatever
        `limits.when_full` says: `await publisher.room()` first to wait instead. The future raises the rest of what
        `publish` does.
        """
        body = self._checked(event)
        if not self._room.try_take():
            raise self._full(event)
        return self._accept(event, body)

    async def room(self) -> None:
        """Returns when there is room for another event."""
        await self._room.take()
        self._room.give(1)

    async def flush(self) -> None:
        """Returns when all that was accepted is confirmed. Raises one PublishError with every event that was not."""
        for lane in self._lanes.values():
            lane.flush()
        if self._sending:
            outcomes = await asyncio.gather(*(asyncio.shield(task) for task in self._sending))
            errors = [outcome for outcome in outcomes if outcome is not None]
            if errors:
                raise merged(errors)

    def _checked(self, event: Event) -> bytes:
        if not self._open:
            raise ClosedError((event,), "the publisher is not open: use it inside its `async with`")
        return encode_checked(event)

    async def _wait_for_room(self, event: Event) -> None:
        if self._limits.when_full == "raise":
            raise self._full(event)
        try:
            async with asyncio.timeout(self._limits.deadline_seconds):
                await self._room.take()
        except TimeoutError:
            self.undelivered += 1
            raise DeadlineError((event,), f"too much outstanding for {self._limits.deadline_seconds:g} s") from None
        if not self._open:
            self._room.give(1)
            raise ClosedError((event,), "the publisher was left before there was room")

    def _full(self, event: Event) -> BacklogFullError:
        return BacklogFullError((event,), f"{self._room.taken:,} events are outstanding, the most allowed")

    def _accept(self, event: Event, body: bytes) -> asyncio.Future[None]:
        return self._lanes[event_type(event)].add(event, body)

    def _send(self, lane: Lane, message: Message) -> None:
        task = asyncio.get_running_loop().create_task(self._deliver(lane, message))
        self._sending.add(task)

    async def _deliver(self, lane: Lane, message: Message) -> PublishError | None:
        confirmed = False
        try:
            async with asyncio.timeout_at(message.deadline):
                await self._until_confirmed(lane, message)
            confirmed = True
        except TimeoutError:
            return self._failed(message, *self._past_deadline(message))
        except Rejected as rejected:
            return self._failed(message, rejected.kind, rejected.reason)
        except asyncio.CancelledError:
            return self._failed(message, ClosedError, "interrupted while publishing")
        finally:
            lane.retries.leave(message, confirmed=confirmed)
            self._settle(lane, message)
        self.confirmed += len(message)
        message.confirm()
        return None

    def _settle(self, lane: Lane, message: Message) -> None:
        lane.in_flight -= 1
        self._room.give(len(message))
        # Here and not in a done callback, which would run after those who wait for the events have been woken: one that
        # left at once would be told of the same failure again.
        task = asyncio.current_task()
        if task is not None:
            self._sending.remove(task)

    async def _until_confirmed(self, lane: Lane, message: Message) -> None:
        body, content_type = message.encoded()
        while True:
            try:
                await self._link.publish(body, message.routing_key, content_type)
            except Interrupted as interrupted:
                message.unroutable = interrupted.unroutable
                await lane.retries.turn(message)
            else:
                return

    def _failed(self, message: Message, kind: type[PublishError], reason: str) -> PublishError:
        error = message.fail(kind, reason)
        self.undelivered += len(message)
        self._failures.add(error)
        return error

    def _past_deadline(self, message: Message) -> tuple[type[PublishError], str]:
        within = f"within {self._limits.deadline_seconds:g} s"
        if message.unroutable:
            return UnroutableError, f"no log took {message.routing_key} {within} ({message.unroutable})"
        return DeadlineError, f"not confirmed {within}, last trouble: {self._link.trouble}"

    async def _abandon(self) -> None:
        """Ends what is still under way, which is something only when leaving was itself interrupted."""
        # A task that is cancelled before it began would end without a word to those who wait for its events.
        await asyncio.sleep(0)
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
