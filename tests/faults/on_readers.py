"""Faults that readers meet: 503 and when to ask again within two seconds, streams that say so, and answers again."""

import asyncio
import os
import time
from signal import SIGCONT, SIGSTOP

from faults.trial import Fault, Strike
from faults.watch import Reading
from faults.world import until

SOON = 2.0
AWAY_SECONDS = 4.0
PAUSES, PAUSE_SECONDS = 5, 2.5


async def redis_away(strike: Strike) -> None:
    began = time.monotonic()
    await strike.world.stack.kill("redis")
    await asyncio.sleep(AWAY_SECONDS)
    ended = time.monotonic()
    _refused(strike.watch.readings, began, ended)
    _told(strike, began)
    await strike.world.stack.start("redis")
    await _answered(strike, time.monotonic(), monitors=False)


async def redis_hangs(strike: Strike) -> None:
    """It takes connections and commands, and answers none."""
    pid = await strike.world.pid("redis")
    began = time.monotonic()
    os.kill(pid, SIGSTOP)
    try:
        await asyncio.sleep(AWAY_SECONDS)
        _refused(strike.watch.readings, began, time.monotonic())
        _told(strike, began)
    finally:
        os.kill(pid, SIGCONT)
    await _answered(strike, time.monotonic(), monitors=True)


async def query_paused(strike: Strike) -> None:
    """Longer than facts are current; when it goes on, it has not yet heard what changed meanwhile."""
    pid = await strike.world.pid("query")
    for _ in range(PAUSES):
        os.kill(pid, SIGSTOP)
        try:
            await asyncio.sleep(PAUSE_SECONDS)
        finally:
            os.kill(pid, SIGCONT)
        await strike.load.more(300)


def _refused(readings: list[Reading], began: float, ended: float) -> None:
    """From two seconds on nobody is told anything but to come back; nobody waits longer than that either."""
    meanwhile = [reading for reading in readings if began < reading.at < ended]
    late = [reading for reading in meanwhile if reading.at - reading.seconds > began + SOON]
    assert late
    assert all(reading.status == 503 for reading in late), [reading for reading in late if reading.status != 503][:3]
    assert max(reading.seconds for reading in meanwhile) < SOON


def _told(strike: Strike, began: float) -> None:
    """Every stream says that what it shows is old, within two seconds and what a busy machine takes."""
    for stream in strike.streams.values():
        assert stream.is_open
        assert stream.stale_at is not None
        assert stream.stale_at < began + SOON + 1.0


async def _answered(strike: Strike, since: float, *, monitors: bool) -> None:
    """Within two seconds. The monitor of a new Redis process is refused until its facts are complete."""
    readings = strike.watch.readings

    async def again() -> bool:
        return any(
            reading.status == 200 and reading.at > since for reading in readings if monitors == reading.is_monitor
        )

    await until(again, "readers are answered again", SOON)


FAULTS = (
    Fault("the query service paused, five times", query_paused),
    Fault("readers, while Redis is away", redis_away, readable=False),
    Fault("readers, while Redis hangs", redis_hangs, readable=False),
)
