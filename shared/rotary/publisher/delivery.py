"""Delivers the batches of one routing key: each is confirmed, or has failed by its deadline."""

import asyncio
from collections.abc import Callable
from functools import partial

from rotary.publisher.batching import Batch
from rotary.publisher.channel import Message, PublishFailed, PublishInterrupted, Unconfirmed
from rotary.publisher.connection import Connection
from rotary.publisher.errors import ClosedError, DeadlineError, PublishError, UnroutableError
from rotary.publisher.retries import Retries

_SWEEP_SECONDS = 0.01

Finished = Callable[[Batch, PublishError | None], None]


class Deliveries:
    """The batches of one routing key that are neither confirmed nor failed.

    A batch that is confirmed at once, as almost all are, costs neither a task nor a timer: one timer watches the oldest
    deadline. A batch that was not confirmed at once is published by a task until it is.

    `finished` is called once for each batch, with the error if it failed.
    """

    def __init__(self, routing_key: str, connection: Connection, deadline_seconds: float, finished: Finished) -> None:
        self._routing_key = routing_key
        self._connection = connection
        self._deadline_seconds = deadline_seconds
        self._finished = finished
        self._retries = Retries()
        self._under_way: dict[Batch, Message | asyncio.Task[None]] = {}
        """In the order of their deadlines."""
        self._sweeper: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._under_way)

    def start(self, batch: Batch) -> None:
        """Publishes the batch."""
        body, content_type = batch.encoded()
        message = Message(body, content_type, partial(self._answered, batch))
        if not self._connection.send(message, self._routing_key):
            self._start_task(batch, None)
            return
        self._under_way[batch] = message
        if self._sweeper is None:
            self._sweep_at(batch.deadline)

    def outcomes(self) -> list[asyncio.Future[PublishError | None]]:
        """A future for each batch that is under way: its error, or None once it is confirmed. Do not cancel them."""
        return [batch.outcome() for batch in self._under_way]

    async def abandon(self) -> None:
        """Ends every batch with a ClosedError."""
        while self._under_way:
            # Let every task start: one that is cancelled before it starts would never resolve its events' futures.
            await asyncio.sleep(0)
            await self._interrupt()
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def _interrupt(self) -> None:
        tasks = []
        for batch, under_way in list(self._under_way.items()):
            if isinstance(under_way, Message):
                self._withdraw(batch, under_way, ClosedError, "interrupted while publishing")
            else:
                under_way.cancel()
                tasks.append(under_way)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _answered(self, batch: Batch, error: Unconfirmed | None) -> None:
        match error:
            case None:
                self._confirm(batch)
            case PublishInterrupted():
                self._start_task(batch, error)
            case PublishFailed():
                self._fail(batch, error.error_class, error.reason)

    def _start_task(self, batch: Batch, interrupted: PublishInterrupted | None) -> None:
        self._under_way[batch] = asyncio.get_running_loop().create_task(self._persist(batch, interrupted))

    async def _persist(self, batch: Batch, interrupted: PublishInterrupted | None) -> None:
        try:
            async with asyncio.timeout_at(batch.deadline):
                await self._publish_until_confirmed(batch, interrupted)
        except TimeoutError:
            self._fail(batch, *self._past_deadline(batch))
        except PublishFailed as failed:
            self._fail(batch, failed.error_class, failed.reason)
        except asyncio.CancelledError:
            self._fail(batch, ClosedError, "interrupted while publishing")
        else:
            self._confirm(batch)

    async def _publish_until_confirmed(self, batch: Batch, interrupted: PublishInterrupted | None) -> None:
        body, content_type = batch.encoded()
        while True:
            if interrupted is not None:
                self._connection.note(interrupted)
                batch.return_reason = interrupted.return_reason
                await self._retries.wait_turn(batch)
            try:
                await self._connection.publish(body, self._routing_key, content_type)
            except PublishInterrupted as again:
                interrupted = again
            else:
                return

    def _confirm(self, batch: Batch) -> None:
        self._end(batch, confirmed=True)
        self._finished(batch, None)
        batch.confirm()

    def _fail(self, batch: Batch, error_class: type[PublishError], reason: str) -> None:
        self._end(batch, confirmed=False)
        self._finished(batch, batch.fail(error_class, reason))

    def _end(self, batch: Batch, *, confirmed: bool) -> None:
        # A done callback of the task would run too late: after the callers have been woken. A caller that then leaves
        # the context would get the same failure a second time.
        del self._under_way[batch]
        self._retries.finish(batch, confirmed=confirmed)

    def _past_deadline(self, batch: Batch) -> tuple[type[PublishError], str]:
        within = f"within {self._deadline_seconds:g} s"
        if batch.return_reason:
            return UnroutableError, f"no log took {batch.routing_key} {within} ({batch.return_reason})"
        return DeadlineError, f"not confirmed {within}; last error: {self._connection.last_error}"

    def _withdraw(self, batch: Batch, message: Message, error_class: type[PublishError], reason: str) -> None:
        message.withdraw()
        self._fail(batch, error_class, reason)

    def _sweep_at(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_at(max(deadline, loop.time() + _SWEEP_SECONDS), self._sweep)

    def _sweep(self) -> None:
        """Fails the messages that are past their deadline. Tasks have a timeout of their own."""
        self._sweeper = None
        now, overdue = asyncio.get_running_loop().time(), list[tuple[Batch, Message]]()
        for batch, under_way in self._under_way.items():
            if batch.deadline > now:
                self._sweep_at(batch.deadline)
                break
            if isinstance(under_way, Message):
                overdue.append((batch, under_way))
        for batch, message in overdue:
            self._withdraw(batch, message, *self._past_deadline(batch))
