"""`rotary-admin rebuild`: all facts anew from the logs, beside the ones that readers read."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import click
from msgspec import Struct
from redis.asyncio import Redis
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rotary.redis import keys
from rotary.redis.connection import connect, translate_errors
from rotary.redis.pipeline import Pipeline
from rotary.redis.positions import Positions
from rotary.runtime.settings import CaFile, RedisUrl, load
from rotary_admin.output import print_object
from rotary.runtime.cli import Failure, confirm, json_option, yes_option

POLL_SECONDS = 0.1
PATIENCE_SECONDS = 30


class RedisSettings(Struct, frozen=True):
    """What this command needs."""

    redis_url: RedisUrl
    ca_file: CaFile = ""


class Rebuilt(Struct, frozen=True):
    """How it went: the number of the generation that is current now, messages read, seconds in all."""

    generation: int
    messages: int
    seconds: float


@asynccontextmanager
async def redis_client() -> AsyncIterator[Redis]:
    """A client for ROTARY_REDIS_URL. Raises ConfigurationError when it is missing or has the wrong form."""
    async with aclosing(connect(load(RedisSettings, os.environ).redis_url)) as client:
        yield client


async def read_generation(client: Redis) -> int:
    """The number of the generation that readers read. Raises UnavailableError."""
    with translate_errors():
        return int(await client.hget(keys.REBUILD, "current") or 0)


@click.command()
@yes_option
@json_option
def rebuild(yes: bool, as_json: bool) -> None:  # noqa: FBT001  they are the flags
    """Build all facts anew from the logs. Readers read the present ones until the new ones are complete."""
    confirm("Rebuild all facts? It takes twice the memory in Redis meanwhile.", yes)
    done = asyncio.run(_rebuild())
    if as_json:
        print_object(done)
    else:
        click.echo(f"rebuilt: {done.messages} messages in {done.seconds:.1f} s")


async def _rebuild() -> Rebuilt:
    began = time.monotonic()
    async with redis_client() as client:
        current = await read_generation(client)
        with translate_errors():
            if not await client.hsetnx(keys.REBUILD, "building", str(current + 1)):
                raise Failure("a rebuild is under way already")
        messages = await _follow(client, current)
    return Rebuilt(current + 1, messages, round(time.monotonic() - began, 3))


async def _follow(client: Redis, old: int) -> int:
    """Shows the consumers' progress until the new generation is read; returns how many messages its logs held."""
    pipeline = Pipeline(client)
    try:
        columns = (TextColumn("rebuilding"), BarColumn(), MofNCompleteColumn(), TextColumn("messages"))
        with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bar:
            task, last, moved_at = bar.add_task("", total=None), -1, time.monotonic()
            while await _is_building(client, old):
                done = await _read(Positions(pipeline, old + 1))
                if done != last:
                    last, moved_at = done, time.monotonic()
                    bar.update(task, completed=done, total=max(done, await _read(Positions(pipeline, old))))
                if time.monotonic() - moved_at > PATIENCE_SECONDS:
                    raise Failure("no consumer rebuilds: start one, it begins by itself")
                await asyncio.sleep(POLL_SECONDS)
        return await _read(Positions(pipeline, old + 1))
    finally:
        await pipeline.close()


async def _is_building(client: Redis, old: int) -> bool:
    with translate_errors():
        current, building = await client.hmget(keys.REBUILD, ["current", "building"])
    if int(current or 0) < old + 1 and building is None:
        raise Failure("Redis lost its data meanwhile: its facts are read anew from the logs anyway")
    return building is not None


async def _read(positions: Positions) -> int:
    """Up to which offsets the logs are in the facts, summed up."""
    names = await positions.logs()
    return sum([min(one.next or 0 for one in await positions.read(name)) for name in names])
