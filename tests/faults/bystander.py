"""A bystander: a customer who does nothing but place a call now and then, and looks whether it shows."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

from faults.load import SOURCE, Shipment
from faults.trial import Strike
from histories import placed

PAUSE_SECONDS = 0.2
GIVE_UP_SECONDS = 30.0
_numbers = count(1)


@asynccontextmanager
async def bystander_unharmed(strike: Strike, seconds: float = 3.0) -> AsyncIterator[list[float]]:
    """Whatever happens in the block, each of the bystander's calls shows in time. The list has how long each took."""
    delays: list[float] = []
    stopping = asyncio.Event()
    calling = asyncio.create_task(_call_on(strike, delays, stopping))
    try:
        yield delays
    finally:
        stopping.set()
        await calling
    assert delays
    assert max(delays) < seconds, f"another customer's call showed after {max(delays):.1f} s"


async def _call_on(strike: Strike, delays: list[float], stopping: asyncio.Event) -> None:
    while not stopping.is_set() or not delays:
        delays.append(await call_delay(strike))
        await asyncio.sleep(PAUSE_SECONDS)


async def call_delay(strike: Strike) -> float:
    """Places one call of the bystander's; returns the seconds from its confirm until the API shows it."""
    world, one = strike.world, strike.world.bystander
    caller = one.callers[2]
    await strike.load.send(
        Shipment(one.id, (placed(f"bystander-{next(_numbers)}", world.clock(), caller, SOURCE),))
    )  # fmt: skip
    due = sum(1 for sent in world.ledger.sent.values() if sent.caller == (one.id, caller))
    confirmed = time.monotonic()
    while time.monotonic() - confirmed < GIVE_UP_SECONDS:
        if await _calls_shown(strike, caller) >= due:
            break
        await asyncio.sleep(0.02)
    return time.monotonic() - confirmed


async def _calls_shown(strike: Strike, caller: int) -> int:
    one = strike.world.bystander
    reading = await strike.world.api.monitor(one, next(iter(one.groups)))
    shown = reading.monitor.members if reading.monitor else ()
    return next((member.calls_today for member in shown if member.caller_id_id == caller), 0)
