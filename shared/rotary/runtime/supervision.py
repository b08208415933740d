"""Background tasks that run as long as their program: one that ends early ends the program."""

import asyncio
from collections.abc import Coroutine

import structlog

from rotary.errors import ConfigurationError
from rotary.runtime.program import TaskEndedError, cancel_and_wait

_log = structlog.get_logger("rotary")


class Supervisor:
    """Runs tasks until closed."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, name: str, task: Coroutine[None, None, None]) -> None:
        """Runs a task. `name` tells an operator which task ended."""
        self._tasks.add(asyncio.create_task(task, name=name))

    async def until(self, stop: asyncio.Event) -> None:
        """Returns once `stop` is set. If a task ends before that, raises its ConfigurationError, or logs why and raises
        TaskEndedError.
        """
        stopped: asyncio.Task[None] = asyncio.create_task(_wait(stop))
        try:
            ended, _ = await asyncio.wait([stopped, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait(stopped)
        if stopped in ended:
            return
        for task in self._tasks & ended:
            error = None if task.cancelled() else task.exception()
            if isinstance(error, ConfigurationError):
                raise error
            _log.error("background task ended", task=task.get_name(), exc_info=error)
            raise TaskEndedError(task.get_name()) from error

    async def close(self) -> None:
        """Cancels the tasks."""
        await cancel_and_wait(*self._tasks)


async def _wait(stop: asyncio.Event) -> None:
    await stop.wait()
