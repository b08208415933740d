"""The publisher for dialers without asyncio: runs `Publisher` in a thread of its own."""

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
from rotary.publisher.errors import BacklogFullError, ClosedError, DeadlineError
from rotary.publisher.event_factory import encode_checked
from rotary.publisher.limits import DEFAULT_LIMITS, Limits
from rotary.publisher.publisher import Publisher

_NOT_OPEN = "the publisher is not open: use it inside its `with`"


class BlockingPublisher:
    """`Publisher` for threads: the same arguments, methods, limits and errors, without `await`.

        with BlockingPublisher("amqps://dialer7:secret@broker/", customer_id=7, source="/dialers/hcm-1") as publisher:
            publisher.call_placed(caller_id_id=18, group_id=3, lead_id="L-991")

    Any number of threads may share one. Their events travel in the same messages, so a thread that waits for each
    confirm adds almost no load on the broker. Enter the context after forking, not before.
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
        """Makes the events for `submit` and `publish`. Safe for threads."""
        self._limits = limits
        self._capacity = threading.Semaphore(limits.outstanding_events)
        self._submitted: deque[tuple[Event, bytes, Future[None]]] = deque()
        self._wakeup_pending = False
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
        """Events returned in an error so far."""
        return self._publisher.undelivered

    @property
    def outstanding(self) -> int:
        """Events accepted and not yet confirmed."""
        return self._publisher.outstanding + len(self._submitted)

    def call_placed(
        self,
        caller_id_id: int,
        group_id: int | None = None,
        lead_id: str | None = None,
        *,
        pick_id: str | None = None,
        time: datetime | None = None,
        event_id: str | None = None,
    ) -> CallPlaced:
        """Like `Publisher.call_placed`."""
        event = self.events.call_placed(caller_id_id, group_id, lead_id, pick_id=pick_id, time=time, event_id=event_id)
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
        """Like `Publisher.carrier_flag`."""
        event = self.events.carrier_flag(caller_id_id, kind, carrier, code, note, time=time, event_id=event_id)
        self.publish(event)
        return event

    def cooldown_cleared(
        self, caller_id_id: int, *, time: datetime | None = None, event_id: str | None = None
    ) -> CooldownCleared:
        """Like `Publisher.cooldown_cleared`."""
        event = self.events.cooldown_cleared(caller_id_id, time=time, event_id=event_id)
        self.publish(event)
        return event

    def publish(self, event: Event) -> None:
        """Returns when the broker has confirmed the event. Raises as `Publisher.publish` does."""
        self.submit(event).result()

    def submit(self, event: Event) -> Future[None]:
        """Accepts the event. The future is done when the broker has confirmed it, and raises the errors of `publish`.

        When too many events are outstanding it waits, unless `limits.when_full` is "raise". The asynchronous `submit`
        never waits.
        """
        if not self._open:
            raise ClosedError((event,), _NOT_OPEN)
        body = encode_checked(event)
        self._acquire_capacity(event)
        future: Future[None] = Future()
        # From here on the event cannot be recalled, so its future cannot be cancelled.
        future.set_running_or_notify_cancel()
        self._submitted.append((event, body, future))
        # One wake-up of the loop's thread covers everything submitted until that thread looks.
        if not self._wakeup_pending:
            self._wakeup_pending = True
            self._wake()
        return future

    def flush(self) -> None:
        """Returns when all accepted events are confirmed. Raises as `Publisher.flush` does."""
        asyncio.run_coroutine_threadsafe(self._publisher.flush(), self._loop).result()

    def _acquire_capacity(self, event: Event) -> None:
        if self._capacity.acquire(blocking=False):
            return
        if self._limits.when_full == "raise":
            raise BacklogFullError((event,), f"{self._limits.outstanding_events:,} events are outstanding")
        if not self._capacity.acquire(timeout=self._limits.deadline_seconds):
            raise DeadlineError((event,), f"too many events outstanding for {self._limits.deadline_seconds:g} s")

    def _wake(self) -> None:
        # The loop has ended if another thread has just left the context. `_reject_remaining` then fails this event.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._receive)

    def _run(self, opened: Future[None]) -> None:
        """Runs in the thread: the event loop, from entering the context to leaving it."""
        try:
            asyncio.run(self._serve(opened))
        except BaseException as error:  # noqa: BLE001 - raised in the thread that enters or leaves
            (self._ended if opened.done() else opened).set_exception(error)
        else:
            self._ended.set_result(None)
        finally:
            self._reject_remaining()

    async def _serve(self, opened: Future[None]) -> None:
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
            # Set it here: the end of the loop waits for a DNS look-up, however long that takes.
            opened.set_exception(error)

    def _receive(self) -> None:
        """Runs in the loop's thread: publishes what other threads submitted."""
        self._wakeup_pending = False
        while self._submitted:
            event, body, future = self._submitted.popleft()
            try:
                inner = self._publisher.submit_encoded(event, body)
            except ClosedError as error:
                self._capacity.release()
                future.set_exception(error)
            else:
                inner.add_done_callback(partial(self._finish, future))

    def _finish(self, future: Future[None], inner: asyncio.Future[None]) -> None:
        self._capacity.release()
        error = inner.exception()
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def _reject_remaining(self) -> None:
        while self._submitted:
            event, _, future = self._submitted.popleft()
            self._capacity.release()
            future.set_exception(ClosedError((event,), _NOT_OPEN))
