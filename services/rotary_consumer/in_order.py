"""Several folds under way at once: while Redis folds one batch, the next is decoded.

What follows each fold happens in the order of submission, because one acknowledgement speaks for all deliveries before.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")
MAX_TASKS = 3


class InOrderTasks:
    """At most three. An error in one is raised by the next call; leaving cancels what is still under way."""

    def __init__(self) -> None:
        self._tasks: deque[asyncio.Task[None]] = deque()
        self._works: set[asyncio.Future[Any]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A task that is cancelled before it began awaits nothing: what it was to wait for is cancelled beside it.
        left: set[asyncio.Future[Any]] = {*self._tasks, *self._works}
        for future in left:
            future.cancel()
        if left:
            await asyncio.wait(left)
            for future in left:
                future.cancelled() or future.exception()  # the first error is the one that is told

    def __len__(self) -> int:
        return len(self._tasks)

    async def submit(self, work: Awaitable[T], then: Callable[[T], Awaitable[None]]) -> None:
        """Begins `work`, after which `then` is given its result, in its turn. Returns when there is room for more."""
        before = self._tasks[-1] if self._tasks else None
        under_way = asyncio.ensure_future(work)
        self._works.add(under_way)
        under_way.add_done_callback(self._ended)
        self._tasks.append(asyncio.create_task(_run(under_way, then, before)))
        await self.reap()

    def _ended(self, work: asyncio.Future[Any]) -> None:
        self._works.discard(work)
        work.cancelled() or work.exception()  # told by whoever awaits it, if somebody still does

    async def reap(self) -> None:
        """Waits for room, and raises what went wrong meanwhile."""
        while self._tasks and (len(self._tasks) >= MAX_TASKS or self._tasks[0].done()):
            await self._tasks.popleft()

    async def drain(self) -> None:
        """Waits for all."""
        while self._tasks:
            await self._tasks.popleft()


async def _run(work: Awaitable[T], then: Callable[[T], Awaitable[None]], before: asyncio.Task[None] | None) -> None:
    result = await work
    if before is not None:
        await asyncio.shield(before)
    await then(result)
