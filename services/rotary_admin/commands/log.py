"""`rotary-admin log`: the streams that contain the events."""

from collections.abc import Sequence
from datetime import datetime
from typing import get_args

import click
from msgspec import Struct

from rotary.events import LogKind
from rotary.postgres import logs as records
from rotary.postgres.connection import Connection
from rotary.postgres.logs import LogRecord
from rotary.rabbitmq import topology
from rotary.rabbitmq.connection import channel, translate_errors
from rotary.rabbitmq.topology import Log
from rotary.redis.pipeline import Pipeline
from rotary.redis.positions import Positions
from rotary.runtime.cli import Failure, confirm, json_option, yes_option
from rotary_admin.commands.rebuild import read_generation
from rotary_admin.context import rabbitmq_url, redis_client, with_database
from rotary_admin.output import print_rows


class LogRow(Struct, frozen=True):
    """One log. `stream` says whether the broker has it; `gap_until` is set while events that it lost may matter."""

    name: str
    state: str
    stream: str
    gap_until: datetime | None
    retired_at: datetime | None


@click.group()
def log() -> None:
    """Manage the logs: the streams on the broker that contain every accepted event."""


@log.command(name="list")
@json_option
@with_database
async def list_(connection: Connection, as_json: bool) -> None:  # noqa: FBT001  click passes flags by name
    """List the logs."""
    rows = [
        LogRow(one.name, one.state, await _stream(one), one.gap_until, one.retired_at)
        for one in await records.read_logs(connection)
    ]
    print_rows(rows, LogRow, as_json=as_json, empty="no logs: a consumer declares them when it starts")


async def _stream(record: LogRecord) -> str:
    if not record.created:
        return "not declared yet"
    async with channel(rabbitmq_url()) as opened:
        return "exists" if await topology.exists(opened, Log.parse(record.name)) else "missing"


@log.command()
@click.argument("kind", type=click.Choice(get_args(LogKind)))
@with_database
async def add(connection: Connection, kind: LogKind) -> None:
    """Add a log. A consumer declares its stream and reads it before events are routed to it."""
    known = [Log.parse(one.name) for one in await records.read_logs(connection)]
    if not known:
        raise Failure("there are no logs yet: a consumer declares the first when it starts")
    number = max((one.number for one in known if one.kind == kind), default=-1) + 1
    name = Log(kind, number).name
    await records.add_logs(connection, [name], "new")
    click.echo(f"added: {name}. A consumer declares it within seconds: see rotary-admin log list")


@log.command()
@click.argument("name")
@yes_option
@with_database
async def retire(connection: Connection, name: str, yes: bool) -> None:  # noqa: FBT001  click passes flags by name
    """Stop routing events to a log. Consumers read it until its last event has expired, then remove it."""
    found = await _find(connection, name)
    others = [Log.parse(one.name) for one in await records.read_logs(connection) if one.state == "active"]
    others = [one for one in others if one.name != name]
    one = Log.parse(name)
    if not any(other.kind == one.kind for other in others):
        raise Failure(f"{name} is the only active log of its kind: add another first")
    if found.state == "draining":
        raise Failure(f"{name} is already retired")
    confirm(f"Stop routing events to {name}?", yes)
    await records.set_state(connection, name, "draining")
    with translate_errors():
        async with channel(rabbitmq_url()) as opened:
            await topology.unroute(opened, one, others)
    click.echo(f"retired: {name}")


@log.command(name="accept-gap")
@click.argument("name")
@yes_option
@with_database
async def accept_gap(connection: Connection, name: str, yes: bool) -> None:  # noqa: FBT001  click passes flags by name
    """Accept the loss of events from a log: answer /monitor again without them.

    Declares the log's stream again if it is missing.
    """
    found = await _find(connection, name)
    if found.gap_until is None:
        raise Failure(f"{name} has no gap")
    confirm(f"Accept the loss of events from {name}? Counts and cooldowns may be too low until they expire.", yes)
    active = [Log.parse(one.name) for one in await records.read_logs(connection) if one.state == "active"]
    await _declare_missing(Log.parse(name), active)
    await records.accept_gap(connection, name)
    async with redis_client() as client:
        pipeline = Pipeline(client)
        try:
            until_ms = int(found.gap_until.timestamp() * 1000)
            await Positions(pipeline, await read_generation(client)).accept_gap(name, until_ms)
        finally:
            await pipeline.close()
    click.echo(f"accepted: /monitor answers without the events that {name} lost")


async def _declare_missing(one: Log, active: Sequence[Log]) -> None:
    async with channel(rabbitmq_url()) as opened:
        if await topology.exists(opened, one):
            return
    with translate_errors():
        async with channel(rabbitmq_url()) as opened:
            await topology.declare_log(opened, one)
            await topology.route(opened, active)


async def _find(connection: Connection, name: str) -> LogRecord:
    known = await records.read_logs(connection)
    for record in known:
        if record.name == name:
            return record
    names = ", ".join(record.name for record in known)
    raise Failure(f"log {name!r} does not exist; " + (f"the logs are {names}" if names else "there are no logs yet"))
