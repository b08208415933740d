"""Background tasks that last as long as their program: one that ends before it is told to ends the program."""

import asyncio
from collections.abc import Coroutine

import structlog

from rotary.runtime.program import TaskEndedError, cancel_and_wait

_log = structlog.get_logger("rotary")


class Supervisor:
    """Runs tasks until it is closed."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, name: str, task: Coroutine[None, None, None]) -> None:
        """Runs a task; `name` is what an operator reads if it ends."""
        self._tasks.add(asyncio.create_task(task, name=name))

    async def until(self, stop: asyncio.Event) -> None:
        """Returns once `stop` is set. Raises TaskEndedError, after logging why, if a task ends before that."""
        told: asyncio.Task[None] = asyncio.create_task(_wait(stop))
        try:
            ended, _ = await asyncio.wait([told, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait(told)
        if told in ended:
            return
        for task in self._tasks & ended:
            error = None if task.cancelled() else task.exception()
            _log.error("background task ended", task=task.get_name(), exc_info=error)
            raise TaskEndedError(task.get_name()) from error

    async def close(self) -> None:
        """Ends the tasks."""
        await cancel_and_wait(*self._tasks)


async def _wait(stop: asyncio.Event) -> None:
    await stop.wait()
