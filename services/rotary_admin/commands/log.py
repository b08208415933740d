"""`rotary-admin log`: the streams that events are in."""

from collections.abc import Sequence
from datetime import datetime
from typing import get_args

import click
from msgspec import Struct

from rotary.postgres import logs as records
from rotary.postgres.connection import Connection
from rotary.postgres.logs import LogRecord
from rotary.rabbitmq import topology
from rotary.rabbitmq.connection import channel, translate_errors
from rotary.rabbitmq.topology import Log, LogKind
from rotary.redis.pipeline import Pipeline
from rotary.redis.positions import Positions
from rotary_admin.commands.cooldown import rabbitmq_url
from rotary_admin.context import on_database
from rotary_admin.output import print_rows
from rotary.runtime.cli import Failure, confirm, json_option, yes_option
from rotary_admin.commands.rebuild import read_generation, redis_client


class LogRow(Struct, frozen=True):
    """One log as listed. `stream` says whether the broker has it, `gap_until` is set while lost events may matter."""

    name: str
    state: str
    stream: str
    gap_until: datetime | None
    retired_at: datetime | None


@click.group()
def log() -> None:
    """The logs: streams on the broker that hold every accepted event."""


@log.command(name="list")
@json_option
@on_database
async def list_(connection: Connection, as_json: bool) -> None:  # noqa: FBT001  it is the flag
    """List the logs."""
    rows = [
        LogRow(one.name, one.state, await _stream(one), one.gap_until, one.retired_at)
        for one in await records.read_logs(connection)
    ]
    print_rows(rows, LogRow, as_json=as_json, empty="There are no logs yet: a consumer declares them when it starts.")


async def _stream(record: LogRecord) -> str:
    if not record.created:
        return "not declared yet"
    async with channel(rabbitmq_url()) as opened:
        return "there" if await topology.exists(opened, Log.parse(record.name)) else "missing"


@log.command()
@click.argument("kind", type=click.Choice(get_args(LogKind)))
@on_database
async def add(connection: Connection, kind: LogKind) -> None:
    """Add a log of a kind. A consumer declares it, reads it, and only then has events go to it."""
    known = [Log.parse(one.name) for one in await records.read_logs(connection)]
    if not known:
        raise Failure("there are no logs yet: a consumer declares the first ones when it starts")
    number = max((one.number for one in known if one.kind == kind), default=-1) + 1
    name = Log(kind, number).name
    await records.add_logs(connection, [name], "new")
    click.echo(f"added: {name}. Consumers take it up within seconds: rotary-admin log list")


@log.command()
@click.argument("name")
@yes_option
@on_database
async def retire(connection: Connection, name: str, yes: bool) -> None:  # noqa: FBT001  it is the flag
    """Have no more events go to a log. It is read until nothing in it counts any more, then forgotten."""
    found = await _find(connection, name)
    others = [Log.parse(one.name) for one in await records.read_logs(connection) if one.state == "active"]
    others = [one for one in others if one.name != name]
    one = Log.parse(name)
    if not any(other.kind == one.kind for other in others):
        raise Failure(f"{name} is the only active log of its kind: add another first")
    if found.state == "draining":
        raise Failure(f"{name} is retired already")
    confirm(f"Have no more events go to {name}?", yes)
    await records.set_state(connection, name, "draining")
    with translate_errors():
        async with channel(rabbitmq_url()) as opened:
            await topology.unroute(opened, one, others)
    click.echo(f"retired: {name}")


@log.command(name="accept-gap")
@click.argument("name")
@yes_option
@on_database
async def accept_gap(connection: Connection, name: str, yes: bool) -> None:  # noqa: FBT001  it is the flag
    """Do without what a log lost: declare its stream anew if it is missing, and open the monitors."""
    found = await _find(connection, name)
    if found.gap_until is None:
        raise Failure(f"{name} has no gap")
    confirm(f"Do without the events that {name} lost? Counts and cooldowns may be too low until they are older.", yes)
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
    click.echo(f"accepted: the monitors are open, without what {name} lost")


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
    raise Failure(f"there is no log {name!r}; there are {', '.join(one.name for one in known) or 'none'}")
