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
        failed = [task for task in self._tasks if task in ended]
        self._tasks.difference_update(failed)
        mistakes = [error for task in failed if isinstance(error := _log_defect(task), ConfigurationError)]
        if mistakes:
            raise mistakes[0]
        raise TaskEndedError(failed[0].get_name()) from _error(failed[0])

    async def close(self) -> None:
        """Cancels the tasks, and logs those that failed meanwhile."""
        await cancel_and_wait(*self._tasks)
        for task in self._tasks:
            if _error(task) is not None:
                _log_defect(task)


def _log_defect(task: asyncio.Task[None]) -> BaseException | None:
    """Why it ended, which is logged unless it is the operator's mistake: that is told once, by the program."""
    error = _error(task)
    if not isinstance(error, ConfigurationError):
        _log.error("background task ended", task=task.get_name(), exc_info=error)
    return error


def _error(task: asyncio.Task[None]) -> BaseException | None:
    return None if task.cancelled() else task.exception()


async def _wait(stop: asyncio.Event) -> None:
    await stop.wait()
