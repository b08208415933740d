"""Merging reads: what many requests ask of Redis at the same moment goes there in one round trip."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class PendingResult(Generic[K, V]):
    """Something asked for, and whoever waits for it."""

    __slots__ = ("_error", "_given", "_waiters", "asked")

    def __init__(self, asked: K) -> None:
        self.asked = asked
        self._given: tuple[V] | None = None
        self._error: BaseException | None = None
        self._waiters: list[asyncio.Future[V]] = []

    def answer(self) -> asyncio.Future[V]:
        """The answer, once it is there. Each caller has its own future: one that is cancelled takes it from nobody."""
        waiter: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        if self._given is not None:
            waiter.set_result(self._given[0])
        elif self._error is not None:
            waiter.set_exception(self._error)
        else:
            self._waiters.append(waiter)
        return waiter

    def give(self, answer: V) -> None:
        """This is the answer."""
        self._given = (answer,)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(answer)

    def fail(self, error: BaseException) -> None:
        """There is none, unless one was given."""
        if self._given is None:
            self._error = self._error or error
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_exception(self._error)


class ReadBatcher(Generic[K, V]):
    """Calls `read` with what was asked for since it was called last.

    `read` gives each its answer; the error that it raises is the answer of those that have none yet. At most
    `in_flight` calls are under way, so that one is decoded while Redis works on the other, of at most `size` each.
    """

    def __init__(
        self, read: Callable[[list[PendingResult[K, V]]], Awaitable[None]], size: int, in_flight: int = 2
    ) -> None:
        self._read = read
        self._size = size
        self._in_flight = in_flight
        self._queue: deque[PendingResult[K, V]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self, asked: K) -> PendingResult[K, V]:
        """Puts it into the next call."""
        waiting: PendingResult[K, V] = PendingResult(asked)
        self._queue.append(waiting)
        is_next_batch = not self._tasks or (len(self._queue) - 1) % self._size == 0
        if is_next_batch and len(self._tasks) < self._in_flight:
            # The task begins when the event loop next turns: all that comes in this turn goes with it, up to `size`.
            task = asyncio.create_task(self._drain())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)  # for one that is cancelled before it begins
        return waiting

    async def close(self) -> None:
        """Cancels the calls under way, and whoever waits for one."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while self._queue:
            self._queue.popleft().fail(asyncio.CancelledError())

    async def _drain(self) -> None:
        try:
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(self._size, len(self._queue)))]
                try:
                    await self._read(batch)
                except BaseException as error:
                    for waiting in batch:
                        waiting.fail(error)
                    if not isinstance(error, Exception):
                        raise
        finally:
            # And not only in the callback: what is asked before that runs would find this task still under way.
            task = asyncio.current_task()
            assert task is not None
            self._tasks.discard(task)
