"""`rotary-admin rebuild`: requests new facts from the logs and shows the consumers' progress."""

import asyncio
import time

import click
from msgspec import Struct
from redis.asyncio import Redis
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rotary.redis import keys
from rotary.redis.connection import translate_errors
from rotary.redis.pipeline import Pipeline
from rotary.redis.positions import Positions
from rotary.runtime.cli import Failure, confirm, json_option, yes_option
from rotary_admin.context import redis_client
from rotary_admin.output import print_object

POLL_SECONDS = 0.1
STALLED_SECONDS = 30


class Rebuilt(Struct, frozen=True):
    """The result: the number of the new generation, the messages read, and the duration."""

    generation: int
    messages: int
    seconds: float


async def read_generation(client: Redis) -> int:
    """The number of the current generation. Raises UnavailableError."""
    with translate_errors():
        return int(await client.hget(keys.REBUILD, "current") or 0)


@click.command()
@yes_option
@json_option
def rebuild(yes: bool, as_json: bool) -> None:  # noqa: FBT001  click passes flags by name
    """Rebuild all facts from the logs. The API answers from the present facts until the new ones are complete."""
    confirm("Rebuild all facts? Redis needs twice the memory meanwhile.", yes)
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
                raise Failure("a rebuild is already running")
        messages = await _follow(client, current)
    return Rebuilt(current + 1, messages, round(time.monotonic() - began, 3))


async def _follow(client: Redis, old: int) -> int:
    """Shows progress until the new generation is current. Returns the number of messages read."""
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
                if time.monotonic() - moved_at > STALLED_SECONDS:
                    raise Failure("no consumer is making progress: the rebuild continues when one runs")
                await asyncio.sleep(POLL_SECONDS)
        return await _read(Positions(pipeline, old + 1))
    finally:
        await pipeline.close()


async def _is_building(client: Redis, old: int) -> bool:
    with translate_errors():
        current, building = await client.hmget(keys.REBUILD, ["current", "building"])
    if int(current or 0) < old + 1 and building is None:
        raise Failure("Redis lost its data meanwhile: consumers are rebuilding the facts from the logs anyway")
    return building is not None


async def _read(positions: Positions) -> int:
    """The number of messages read: the sum of the logs' offsets."""
    names = await positions.logs()
    return sum([min(one.next or 0 for one in await positions.read(name)) for name in names])
