"""How fast an emptied Redis is rebuilt from the logs, against how fast the same messages drained when they came."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from itertools import count
from signal import SIGCONT, SIGSTOP
from statistics import median
from time import monotonic

from msgspec import Struct

from benchmarks.calls import CUSTOMERS, Calls, calls, publish
from benchmarks.folding import Ours, own_database
from benchmarks.processes import service
from benchmarks.rounds import ratio
from benchmarks.run import Run
from benchmarks.table import Row, at_least
from integration.private_vhost import private_vhost
from rotary.redis.connection import connect

DATABASE = 7
LONGER = 4
"""So many times the messages of a drain elsewhere: noticing that Redis is empty, up to a second, counts."""
PATIENCE_SECONDS = 300.0
_customers = count(2_000, CUSTOMERS)


async def measure(run: Run) -> None:
    """The one row."""
    if run.wants("rebuild"):
        await run.each({"rebuild": partial(rebuild, run)})


class _Rates(Struct, frozen=True):
    """Events a second."""

    drained: float
    rebuilt: float


async def rebuild(run: Run) -> Sequence[Row]:
    """Each round has a broker's virtual host, a Redis database and a consumer of its own."""
    rounds = [await _round(run) for _ in range(run.scale.long_drains)]
    rebuilt, drained = [one.rebuilt for one in rounds], [one.drained for one in rounds]
    return [
        Row(
            case="an empty Redis rebuilt from the logs, one event a message",
            figure=ratio(rebuilt, drained),
            unit="× drain",
            goal=at_least(1.0),
            detail=f"{median(rebuilt):,.0f} events/s against {median(drained):,.0f} as they came",
            samples={"rebuilt, events/s": rebuilt, "drained, events/s": drained},
        )
    ]


async def _round(run: Run) -> _Rates:
    given = calls(next(_customers), LONGER * run.scale.single_messages)
    async with AsyncExitStack() as stack:
        url = stack.enter_context(private_vhost(run.servers.rabbitmq))
        redis = await stack.enter_async_context(connect(run.servers.database(DATABASE)))
        await redis.flushdb()
        settings = run.servers.settings(DATABASE, url, await stack.enter_async_context(own_database(run)))
        started, _ = await stack.enter_async_context(service(run.cores.measured, "rotary_consumer", settings))
        ours = Ours(url, [started], redis)
        ours.let(SIGSTOP)
        await publish(url, given.messages)
        began = monotonic()
        ours.let(SIGCONT)
        drained = await _rate(ours, given, began)
        began = monotonic()
        await redis.flushdb()
        rebuilt = await _rate(ours, given, began)
        await redis.flushdb()
        return _Rates(drained, rebuilt)


async def _rate(ours: Ours, given: Calls, began: float) -> float:
    """From the very beginning: a replay folds what it reads in long pieces, so its progress says little."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        end = (await ours.drained(given))[-1]
    if end.events != given.events:
        raise RuntimeError(f"{end.events:,} events were counted instead of {given.events:,}")
    return end.events / (end.at - began)
