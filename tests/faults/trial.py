"""One trial: load runs, a fault strikes and ends, and everything must be right again by itself."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack

from msgspec import Struct

from faults.definitions import Customer
from faults.health import lacking
from faults.load import Load, Shape
from faults.stored import read_facts
from faults.streams import Stream
from faults.table import Row
from faults.watch import Watch
from faults.whereabouts import whereabouts
from faults.world import PATIENCE_SECONDS, World, until
from histories import by_row, group, member
from rotary.domain.monitor import MonitorMember, monitor

EVENTS_BEFORE = 400
EVENTS_AFTER = 200
AGREE_SECONDS = 5.0


class Strike(Struct):
    """What a fault is given: the world, the load that runs, and what readers saw since the load began.

    `streams` are those that are open, by group. `ended` is when nothing was broken any more, monotonic seconds: when
    the fault returned, unless it said so before. `afterwards` is left when everything has recovered.
    """

    world: World
    load: Load
    watch: Watch
    streams: Mapping[int, Stream]
    afterwards: AsyncExitStack
    ended: float = 0.0

    def ends(self) -> None:
        self.ended = time.monotonic()


class Fault(Struct, frozen=True):
    """`strike` breaks something and mends it, and returns when the fault is over.

    `readable`: readers are answered all the time. `make test` runs it too if `short`.
    """

    name: str
    strike: Callable[[Strike], Awaitable[None]]
    shape: Shape = Shape()
    readable: bool = True
    short: bool = False


class Outcome(Struct, frozen=True):
    """The row, and what was wrong beside it: nothing, when all is well."""

    row: Row
    wrong: list[str]


async def trial(world: World, fault: Fault) -> Outcome:
    """Runs the fault under load; then waits until the facts are right, and until nothing can change them any more."""
    known = world.ledger.confirmations
    world.witness.forget()
    async with world.watched() as (watch, streams):
        seconds = await _struck(world, fault, watch, streams)
        await world.quiet()
        verdict = await world.verdict()
        wrong = [] if verdict.is_clean else [str(verdict)]
        if verdict.lost:
            wrong += await whereabouts(world)
        wrong += await _disagreements(world)
    if fault.readable:
        wrong += [f"{reading.path}: {reading.message}" for reading in watch.readings if reading.status != 200]
    confirmed = world.ledger.confirmations - known
    row = Row(
        fault.name, confirmed, world.witness.repeated, verdict.lost, verdict.doubled, len(watch.stale), seconds
    )  # fmt: skip
    return Outcome(row, wrong + watch.wrong + watch.stale)


async def _struck(world: World, fault: Fault, watch: Watch, streams: Mapping[int, Stream]) -> float:
    """How long it took to recover, in seconds."""
    load = world.load(fault.name, fault.shape)
    async with AsyncExitStack() as afterwards:
        strike = Strike(world, load, watch, streams, afterwards)
        load.start()
        try:
            await load.more(EVENTS_BEFORE)
            await fault.strike(strike)
            if not strike.ended:
                strike.ends()
            await load.more(EVENTS_AFTER)
        finally:
            await load.finish()
        await world.recovered()
        await _healthy(world, streams)
        return time.monotonic() - strike.ended


async def _healthy(world: World, streams: Mapping[int, Stream]) -> None:
    """Returns when reads are as fast as before, nothing is behind, and every service and stream says so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while found := await lacking(world):
        assert time.monotonic() < deadline, f"not within {PATIENCE_SECONDS:.0f} s: {found}"
        await asyncio.sleep(0.1)

    async def are_current() -> bool:
        return all(stream.is_current for stream in streams.values())

    await until(are_current, "every stream is current")


async def _disagreements(world: World) -> list[str]:
    """Where the API, given a moment, still shows something else than the pure functions make of the facts."""
    deadline = time.monotonic() + AGREE_SECONDS
    while True:
        found = [what for customer in world.customers for what in await _differing(world, customer)]
        if not found or time.monotonic() > deadline:
            return found


async def _differing(world: World, customer: Customer) -> list[str]:
    facts = await read_facts(world.redis, customer, world.clock())
    found = []
    for group_id, callers in customer.groups.items():
        shown = await world.api.monitor(customer, group_id)
        definition = group([member(one, "active", _cap(customer, one)) for one in callers], world.timezone)
        wanted = monitor(definition, by_row(definition, facts), world.clock())
        if shown.monitor is None or _told(shown.monitor.members) != _told(wanted.members):
            found.append(f"group {group_id} is shown as {shown.monitor}, not {wanted}")
    return found


def _cap(customer: Customer, caller: int) -> int:
    return 1 if caller == customer.spent else 1_000_000


def _told(members: list[MonitorMember]) -> list[tuple[object, ...]]:
    """What does not change from one second to the next, as health does."""
    return [(one.caller_id_id, one.status, one.calls_today, one.cooldown_until) for one in members]
