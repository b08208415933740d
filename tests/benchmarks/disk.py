"""What an event takes of the broker's disk: written once, into a log, against a work queue and a log.

Sizes are those of all the broker's files together, before and after events were published and confirmed. The former
work queue is not consumed meanwhile: what is counted is what was written, not what later may be removed.
"""

import asyncio
import os
from collections.abc import Sequence
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median

import aio_pika

from benchmarks.calls import CUSTOMERS, calls, publish
from benchmarks.former import declare_former
from benchmarks.rounds import in_turn, ratio
from benchmarks.run import Run
from benchmarks.table import Row, at_most
from integration.private_vhost import private_vhost
from rotary.rabbitmq import topology
from rotary.rabbitmq.markers import publish_marker, user_of
from rotary_consumer.marking import MARKER_SECONDS
from rotary_stack.control.client import send
from rotary_stack.control.messages import Request

BATCH = 200
MARKERS = 200
SETTLE_SECONDS = 0.25
DAY_SECONDS = 86_400
_customers = count(3_000, CUSTOMERS)


async def measure(run: Run) -> None:
    """Every row about the broker's disk."""
    await run.each({"disk": partial(disk, run)})


async def disk(run: Run) -> Sequence[Row]:
    """Single events, and messages of 200, into both topologies in turn."""
    scale, data = run.scale, _broker_data()
    with private_vhost(run.servers.rabbitmq) as url, private_vhost(run.servers.rabbitmq) as former:
        async with await aio_pika.connect(url) as connection:
            await topology.declare(await connection.channel())
        await declare_former(former)
        found = await in_turn(
            scale.long_drains,
            {
                "single": partial(_bytes_an_event, data, url, scale.slow_messages, 1),
                "former single": partial(_bytes_an_event, data, former, scale.slow_messages, 1),
                "batch": partial(_bytes_an_event, data, url, scale.batch_messages // 4, BATCH),
                "former batch": partial(_bytes_an_event, data, former, scale.batch_messages // 4, BATCH),
                "marker": partial(_bytes_a_marker, data, url),
            },
        )
    return [
        _row("broker disk of an event, single confirmed publishes", found["single"], found["former single"]),
        _row(f"broker disk of an event, messages of {BATCH}", found["batch"], found["former batch"]),
        _markers(found["marker"]),
    ]


def _row(case: str, now: Sequence[float], before: Sequence[float]) -> Row:
    return Row(
        case=f"{case}: one log, against a work queue and a log",
        figure=ratio(now, before),
        unit="× former",
        goal=at_most(0.6),
        detail=f"{median(now):,.0f} bytes against {median(before):,.0f}",
        samples={"one log, bytes": now, "queue and log, bytes": before},
    )


def _markers(each: Sequence[float]) -> Row:
    """What the logs are written besides, whether or not there are events."""
    a_day, logs = DAY_SECONDS / MARKER_SECONDS * median(each) / 1e6, len(topology.default_logs())
    return Row(
        case="  besides: arrival markers, a day and log",
        figure=a_day,
        unit="MB",
        detail=f"{median(each):,.0f} bytes each, {1 / MARKER_SECONDS:.0f} a second;"
        f" {logs} logs: {a_day * logs:,.0f} MB a day",
        samples={"bytes": each},
    )


async def _bytes_an_event(data: Path, url: str, messages: int, batch: int) -> float:
    given = calls(next(_customers), messages, batch)
    before = await _settled(data)
    await publish(url, given.messages)
    return (await _settled(data) - before) / given.events


async def _bytes_a_marker(data: Path, url: str) -> float:
    """One after the other, as a reader publishes them: each is a chunk of its log."""
    queue, user = topology.default_logs()[0].queue, user_of(url)
    before = await _settled(data)
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        for _ in range(MARKERS):
            await publish_marker(channel, queue, 1_700_000_000_000, user)
    return (await _settled(data) - before) / MARKERS


def _broker_data() -> Path:
    data = send(Request("status"), os.environ).programs["rabbitmq"].data
    assert data is not None
    return Path(data)


async def _settled(data: Path) -> int:
    """The size of all files once it stays the same: the broker writes some things a moment after it confirmed."""
    size = -1
    while (now := _size(data)) != size:
        size = now
        await asyncio.sleep(SETTLE_SECONDS)
    return size


def _size(data: Path) -> int:
    total = 0
    for folder, _, names in os.walk(data):
        for name in names:
            try:
                total += (Path(folder) / name).stat().st_size
            except FileNotFoundError:  # it was removed meanwhile
                continue
    return total
