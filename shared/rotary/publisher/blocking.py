"""The publisher of a dialer that does not run on asyncio: the same one, in a thread of its own."""

import asyncio
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime
from functools import partial
from ssl import SSLContext
from types import TracebackType
from typing import Self

from rotary.clock import Clock
from rotary.events import CallPlaced, CarrierFlag, CooldownCleared, Event, FlagKind
from rotary.publisher.publisher import Publisher
from rotary.publisher.errors import BacklogFullError, ClosedError, DeadlineError
from rotary.publisher.limits import DEFAULT_LIMITS, Limits
from rotary.publisher.event_factory import encode_checked

_NOT_OPEN = "the publisher is not open: use it inside its `with`"


class BlockingPublisher:
    """`Publisher` for threads: the same arguments, methods, limits and errors, without `await`.

        with BlockingPublisher("amqps://dialer7:secret@broker/", customer_id=7, source="/dialers/hcm-1") as publisher:
            publisher.call_placed(caller_id_id=18, group_id=3, lead_id="L-991")

    Any number of threads may share one: their events travel in the same messages, so that waiting for each confirmation
    costs a thread its time and the broker next to nothing. Enter it after forking.
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
        self._publisher = Publisher(
            url, customer_id=customer_id, source=source, limits=limits, clock=clock, ssl_context=ssl_context
        )
        self.events = self._publisher.events
        """Makes events for `submit` and `publish`; any thread may."""
        self._limits = limits
        self._places = threading.Semaphore(limits.outstanding_events)
        self._handed: deque[tuple[Event, Future[None]]] = deque()
        self._woken = False
        self._open = False
        self._ended: Future[None] = Future()

    def __enter__(self) -> Self:
        opened: Future[None] = Future()
        thread = threading.Thread(target=self._run, args=(opened,), name="rotary-publisher", daemon=True)
        thread.start()
        opened.result()
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        self._loop.call_soon_threadsafe(self._leave.set)
        undelivered = self._ended.exception()
        if undelivered is None:
            return
        if error is None:
            raise undelivered
        error.add_note(str(undelivered))

    @property
    def confirmed(self) -> int:
        """Events confirmed so far."""
        return self._publisher.confirmed

    @property
    def undelivered(self) -> int:
        """Events given back in an error so far."""
        return self._publisher.undelivered

    @property
    def outstanding(self) -> int:
        """Events accepted and not yet confirmed."""
        return self._publisher.outstanding + len(self._handed)

    def call_placed(
        self,
        caller_id_id: int,
        group_id: int | None = None,
        lead_id: str | None = None,
        *,
        time: datetime | None = None,
        event_id: str | None = None,
    ) -> CallPlaced:
        """As `Publisher.call_placed`."""
        event = self.events.call_placed(caller_id_id, group_id, lead_id, time=time, event_id=event_id)
        self.publish(event)
        return event

    def carrier_flag(
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
        """As `Publisher.carrier_flag`."""
        event = self.events.carrier_flag(caller_id_id, kind, carrier, code, note, time=time, event_id=event_id)
        self.publish(event)
        return event

    def cooldown_cleared(
        self, caller_id_id: int, *, time: datetime | None = None, event_id: str | None = None
    ) -> CooldownCleared:
        """As `Publisher.cooldown_cleared`."""
        event = self.events.cooldown_cleared(caller_id_id, time=time, event_id=event_id)
        self.publish(event)
        return event

    def publish(self, event: Event) -> None:
        """Returns when the broker has confirmed the event. Raises as `Publisher.publish`."""
        self.submit(event).result()

    def submit(self, event: Event) -> Future[None]:
        """Accepts the event; the future is done when the broker has confirmed it. Errors are those of `publish`.

        Unlike the asynchronous `submit` this one waits when too much is outstanding, unless `limits.when_full` is
        "raise", because a thread can.
        """
        if not self._open:
            raise ClosedError((event,), _NOT_OPEN)
        encode_checked(event)
        self._take_place(event)
        future: Future[None] = Future()
        # From here on the event is on its way: cancelling the future could not call it back.
        future.set_running_or_notify_cancel()
        self._handed.append((event, future))
        # One wake-up of the other thread serves all that were handed over before it has looked.
        if not self._woken:
            self._woken = True
            self._wake()
        return future

    def flush(self) -> None:
        """Returns when all that was accepted is confirmed. Raises as `Publisher.flush`."""
        asyncio.run_coroutine_threadsafe(self._publisher.flush(), self._loop).result()

    def _take_place(self, event: Event) -> None:
        if self._places.acquire(blocking=False):
            return
        if self._limits.when_full == "raise":
            raise BacklogFullError((event,), f"{self._limits.outstanding_events:,} events are outstanding")
        if not self._places.acquire(timeout=self._limits.deadline_seconds):
            raise DeadlineError((event,), f"too much outstanding for {self._limits.deadline_seconds:g} s")

    def _wake(self) -> None:
        # The loop is gone when another thread has just left the publisher: `_refuse_rest` answers this event.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._receive)

    def _run(self, opened: Future[None]) -> None:
        """The thread's life."""
        try:
            asyncio.run(self._live(opened))
        except BaseException as error:  # noqa: BLE001 - carried to the thread that enters or leaves
            (self._ended if opened.done() else opened).set_exception(error)
        else:
            self._ended.set_result(None)
        finally:
            self._refuse_rest()

    async def _live(self, opened: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._leave = asyncio.Event()
        try:
            async with self._publisher:
                opened.set_result(None)
                await self._leave.wait()
                self._receive()
        except Exception as error:
            if opened.done():
                raise
            # Now: the loop's own end waits for the look-up of the host's name, however long that takes.
            opened.set_exception(error)

    def _receive(self) -> None:
        """In the loop's thread: submits what the others handed over."""
        self._woken = False
        while self._handed:
            event, future = self._handed.popleft()
            try:
                inner = self._publisher.submit(event)
            except ClosedError as error:
                self._places.release()
                future.set_exception(error)
            else:
                inner.add_done_callback(partial(self._settle, future))

    def _settle(self, future: Future[None], inner: asyncio.Future[None]) -> None:
        self._places.release()
        error = inner.exception()
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def _refuse_rest(self) -> None:
        while self._handed:
            event, future = self._handed.popleft()
            self._places.release()
            future.set_exception(ClosedError((event,), _NOT_OPEN))
