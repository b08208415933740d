"""Faults of the logs: what they lost is said, and no monitor is shown, until an operator does without it."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from datetime import UTC, datetime

import asyncpg
from pamqp.common import FieldTable

from faults.trial import Fault, Strike
from faults.world import World, until
from rotary.rabbitmq import topology
from rotary.rabbitmq.connection import channel
from rotary.rabbitmq.stream import open_log
from rotary.rabbitmq.topology import Log
from rotary.redis.pipeline import Pipeline
from rotary.redis.positions import Positions

SEGMENT_BYTES = 50_000
KEPT_BYTES = 100_000
GAP = "lost events"
POLICY = "truncated"


async def added_and_retired(strike: Strike) -> None:
    """Calls go to one more log, and to one less; then all are read anew."""
    world = strike.world
    await admin(world, "log", "add", "calls")
    await until(lambda: _has_state(world, "calls.4", "active"), "the added log takes events")
    await strike.load.more(1000)
    await admin(world, "log", "retire", "calls.1", "--yes")
    await strike.load.more(300)
    await world.redis.flushall()


async def deleted(strike: Strike) -> None:
    """Under load, with its events folded."""
    log = await _fullest(strike.world)
    await _delete(strike.world, log)
    await _do_without(strike)


async def deleted_and_emptied(strike: Strike) -> None:
    """Neither Redis nor the broker knows any more that there was anything."""
    log = await _fullest(strike.world)
    await _delete(strike.world, log)
    await strike.world.redis.flushall()
    await _do_without(strike)


async def made_anew_and_emptied(strike: Strike) -> None:
    """As after a restored broker: the log is there, and it is another one."""
    world = strike.world
    log = await _fullest(world)
    await _delete(world, log)
    async with channel(world.rabbitmq_url) as opened:
        await topology.declare_log(opened, log)
        await topology.route(opened, topology.default_logs())
    await world.redis.flushall()
    await _do_without(strike)


async def truncated(strike: Strike) -> None:
    """While no consumer runs, retention drops what was not read yet."""
    world = strike.world
    log = await _fullest(world)
    await world.stack.kill("consumer")
    reached = await _reached(world, log)
    policy = f'{{"max-length-bytes":{KEPT_BYTES}}}'
    await world.rabbitmqctl("set_policy", POLICY, r"^rotary\.log\.calls", policy, "--apply-to", "queues")

    async def is_dropped() -> bool:
        return await _first_offset(world, log) > reached

    await until(is_dropped, "the log begins after what was read")
    await world.rabbitmqctl("clear_policy", POLICY)
    starting = asyncio.create_task(world.stack.start("consumer"))  # ready once the gap is accepted
    await _do_without(strike)
    await starting


async def _do_without(strike: Strike) -> None:
    """The monitors are closed, whatever else happens; the operator opens them, for he does without what is missing."""
    world = strike.world
    await until(lambda: _is_closed(world), "every monitor says that events were lost")
    await until(lambda: _gaps(world), "the gap is on record")
    await strike.load.more(100)
    assert await _is_closed(world)
    world.ledger.write_off_calls(before=datetime.now(UTC))
    await until(lambda: _accept_all(world), "no log has a gap that is not accepted")
    strike.ends()


async def _accept_all(world: World) -> bool:
    """Another log's gap may be found while one is accepted."""
    for name in await _gaps(world):
        await admin(world, "log", "accept-gap", name, "--yes")
    return not await _is_closed(world)


async def _is_closed(world: World) -> bool:
    readings = [await world.api.monitor(one, group) for one in world.customers for group in one.groups]
    return all(reading.status == 503 and GAP in reading.message for reading in readings)


async def _gaps(world: World) -> list[str]:
    rows = await _fetch(world, "SELECT name FROM event_logs WHERE gap_until IS NOT NULL")
    return [row["name"] for row in rows]


async def _has_state(world: World, name: str, state: str) -> bool:
    rows = await _fetch(world, "SELECT state FROM event_logs WHERE name = $1", name)
    return [row["state"] for row in rows] == [state]


async def _fetch(world: World, statement: str, *arguments: object) -> "list[asyncpg.Record]":
    connection = await asyncpg.connect(world.variables["ROTARY_POSTGRES_URL"])
    try:
        return await connection.fetch(statement, *arguments)
    finally:
        await connection.close()


async def admin(world: World, *arguments: str) -> None:
    """Runs rotary-admin, which must succeed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "rotary_admin", *arguments, env=world.stack.environ(), stdout=PIPE, stderr=PIPE
    )  # fmt: skip
    output, errors = await process.communicate()
    assert process.returncode == 0, (output + errors).decode()


async def _fullest(world: World) -> Log:
    """The log of calls that was read farthest."""
    calls = [log for log in topology.default_logs() if log.kind == "calls"]
    reached = {log: await _reached(world, log) for log in calls}
    return max(calls, key=lambda log: reached[log])


async def _reached(world: World, log: Log) -> int:
    pipeline = Pipeline(world.redis)
    try:
        return max(position.next or 0 for position in await Positions(pipeline).read(log.name))
    finally:
        await pipeline.close()


async def _first_offset(world: World, log: Log) -> int:
    async with open_log(world.rabbitmq_url, log.queue, "first", 1) as consumer:
        taken = await consumer.take(1)
        return taken[0].offset if taken else 0


async def _delete(world: World, log: Log) -> None:
    async with channel(world.rabbitmq_url) as opened:
        await opened.queue_delete(log.queue)


async def use_small_segments(world: World) -> None:
    """Has the logs anew, empty, in segments so small that retention has something to drop."""
    await world.stack.stop("consumer")
    async with channel(world.rabbitmq_url) as opened:
        for log in topology.default_logs():
            await opened.queue_delete(log.queue)
            arguments: FieldTable = {
                "x-queue-type": "stream",
                "x-max-age": "3D",
                "x-stream-max-segment-size-bytes": SEGMENT_BYTES,
            }
            await opened.declare_queue(log.queue, durable=True, arguments=arguments)
    await _fetch(world, "UPDATE event_logs SET first_message = NULL")
    await world.redis.flushall()
    await world.stack.start("consumer")


FAULTS = (Fault("a log added and another retired, then FLUSHALL", added_and_retired, readable=False),)
# The first while the logs still have their small segments.
LOSSES = (
    Fault("a log truncated before it was read; accepted", truncated, readable=False),
    Fault("a log deleted; the gap accepted", deleted, readable=False),
    Fault("a log deleted, then FLUSHALL; the gap accepted", deleted_and_emptied, readable=False),
    Fault("a log deleted and made anew, then FLUSHALL; accepted", made_anew_and_emptied, readable=False),
)
