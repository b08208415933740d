"""A program ends with the first of its tasks, and says once why."""

import asyncio
import gc
from collections.abc import Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from rotary.errors import ConfigurationError
from rotary.runtime.program import TaskEndedError
from rotary.runtime.supervision import Supervisor


async def _lasts() -> None:
    await asyncio.Event().wait()


async def _fails() -> None:
    raise ValueError("a defect")


async def _is_refused() -> None:
    raise ConfigurationError("ROTARY_REDIS_URL is no address")


async def test_a_task_that_ends_ends_its_program() -> None:
    async def returns() -> None:
        return

    async def is_cancelled() -> None:
        raise asyncio.CancelledError

    for task in (returns, _fails, is_cancelled):
        supervisor = Supervisor()
        supervisor.start("lasting", _lasts())
        supervisor.start("ending", task())
        with pytest.raises(TaskEndedError, match="ending"):
            await asyncio.wait_for(supervisor.until(asyncio.Event()), 2)
        await supervisor.close()


async def test_a_program_that_is_told_to_stop_stops_without_complaint() -> None:
    supervisor, stop = Supervisor(), asyncio.Event()
    supervisor.start("lasting", _lasts())
    waiting = asyncio.create_task(supervisor.until(stop))
    stop.set()
    await asyncio.wait_for(waiting, 2)
    await supervisor.close()


async def test_the_operators_mistake_is_told_once_and_defects_beside_it_too() -> None:
    unretrieved: list[Mapping[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unretrieved.append(context))
    for defects in (0, 1):
        supervisor = Supervisor()
        for task in (_is_refused, _is_refused, *[_fails] * defects):
            supervisor.start(task.__name__, task())
        with capture_logs() as told, pytest.raises(ConfigurationError, match="no address"):
            await supervisor.until(asyncio.Event())
        await supervisor.close()
        del supervisor
        gc.collect()
        assert [one["task"] for one in told] == ["_fails"] * defects
        assert not unretrieved


async def test_every_defect_is_told_also_one_that_comes_while_the_program_ends() -> None:
    async def fails_late() -> None:
        try:
            await _lasts()
        finally:
            await _fails()

    supervisor = Supervisor()
    for task in (_fails, _fails, fails_late):
        supervisor.start(task.__name__, task())
    with capture_logs() as told:
        with pytest.raises(TaskEndedError):
            await supervisor.until(asyncio.Event())
        await supervisor.close()
    assert [one["task"] for one in told] == ["_fails", "_fails", "fails_late"]
