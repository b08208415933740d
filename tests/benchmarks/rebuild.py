"""How fast an emptied Redis is rebuilt from the logs, against how fast the same messages drained when they came.

Noticing that it is empty and opening the logs anew takes the same time however long they are: a row of its own.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from itertools import count
from statistics import median
from time import monotonic

from msgspec import Struct

from benchmarks.calls import CUSTOMERS, calls
from benchmarks.folding import Ours, drain, own_database, steady_rate
from benchmarks.processes import service
from benchmarks.rounds import ratio
from benchmarks.run import Run
from benchmarks.table import Row, at_least
from integration.private_vhost import private_vhost
from rotary.redis.connection import connect

DATABASE = 7
LONGER = 6
"""So many times the messages of a drain elsewhere. A consumer whose Redis was emptied also writes the definitions anew
and opens its logs one after the other, once: tens of milliseconds, which would be 5 % of a short log."""
PATIENCE_SECONDS = 300.0
_customers = count(2_000, CUSTOMERS)


async def measure(run: Run) -> None:
    """Every row about rebuilds."""
    if run.wants("rebuild"):
        await run.each({"rebuild": partial(rebuild, run)})


class _Rates(Struct, frozen=True):
    """Events a second, and the seconds until the first event was there again and until all were."""

    drained: float
    rebuilt: float
    first: float
    all: float


async def rebuild(run: Run) -> Sequence[Row]:
    """Each round has a broker's virtual host, a Redis database and a consumer of its own."""
    # Twice as many as of other long drains: both sides are the same work, so that all that shows is what else happens.
    rounds = [await _round(run) for _ in range(2 * run.scale.long_drains)]
    rebuilt, drained = [one.rebuilt for one in rounds], [one.drained for one in rounds]
    first = [one.first for one in rounds]
    return [
        Row(
            case="an empty Redis rebuilt from the logs, one event a message",
            figure=ratio(rebuilt, drained),
            unit="× drain",
            goal=at_least(1.0),
            detail=f"{median(rebuilt):,.0f} events/s against {median(drained):,.0f} as they came",
            samples={"rebuilt, events/s": rebuilt, "drained, events/s": drained},
        ),
        Row(
            case="  until the first of them is there again",
            figure=median(first),
            unit="s",
            detail=f"{median(one.all for one in rounds):.1f} s until all {_messages(run):,} are",
            samples={"s": first},
        ),
    ]


def _messages(run: Run) -> int:
    return LONGER * run.scale.single_messages


async def _round(run: Run) -> _Rates:
    given = calls(next(_customers), _messages(run))
    async with AsyncExitStack() as stack:
        url = stack.enter_context(private_vhost(run.servers.rabbitmq))
        redis = await stack.enter_async_context(connect(run.servers.database(DATABASE)))
        await redis.flushdb()
        settings = run.servers.settings(DATABASE, url, await stack.enter_async_context(own_database(run)))
        started, _ = await stack.enter_async_context(service(run.cores.measured, "rotary_consumer", settings))
        ours = Ours(url, [started], redis)
        async with asyncio.timeout(PATIENCE_SECONDS):
            drained = await drain(ours, given)
            await redis.flushdb()
            began = monotonic()
            progress = await ours.drained(given)
        await redis.flushdb()
    first = next(step.at for step in progress if step.events)
    return _Rates(drained, steady_rate(progress, given), first - began, progress[-1].at - began)
