"""Runs a few folds at once: while Redis folds one batch, the next is decoded.

Their follow-ups run in the order of submission, because an acknowledgement covers all deliveries before it.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")
MAX_TASKS = 3


class InOrderTasks:
    """At most MAX_TASKS tasks. The next call raises an earlier task's error; leaving the block cancels what is left."""

    def __init__(self) -> None:
        self._tasks: deque[asyncio.Task[None]] = deque()
        self._works: set[asyncio.Future[Any]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A task cancelled before its start awaits nothing, so its work is cancelled separately.
        left: set[asyncio.Future[Any]] = {*self._tasks, *self._works}
        for future in left:
            future.cancel()
        if left:
            await asyncio.wait(left)
            for future in left:
                future.cancelled() or future.exception()  # only the first error is reported

    def __len__(self) -> int:
        return len(self._tasks)

    async def submit(self, work: Awaitable[T], then: Callable[[T], Awaitable[None]]) -> None:
        """Starts `work` and passes its result to `then`, in order. Returns when there is room for more."""
        before = self._tasks[-1] if self._tasks else None
        under_way = asyncio.ensure_future(work)
        self._works.add(under_way)
        under_way.add_done_callback(self._ended)
        self._tasks.append(asyncio.create_task(_run(under_way, then, before)))
        await self.reap()

    def _ended(self, work: asyncio.Future[Any]) -> None:
        self._works.discard(work)
        work.cancelled() or work.exception()  # whoever awaits it raises the error

    async def reap(self) -> None:
        """Waits for room. Raises the error of a finished task."""
        while self._tasks and (len(self._tasks) >= MAX_TASKS or self._tasks[0].done()):
            await self._tasks.popleft()

    async def drain(self) -> None:
        """Waits for all tasks."""
        while self._tasks:
            await self._tasks.popleft()


async def _run(work: Awaitable[T], then: Callable[[T], Awaitable[None]], before: asyncio.Task[None] | None) -> None:
    result = await work
    if before is not None:
        await asyncio.shield(before)
    await then(result)
