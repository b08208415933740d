"""`rotary-admin rebuild`: all facts anew from the logs."""

import asyncio
import os
import time
from contextlib import aclosing
from secrets import token_hex

import click
from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rotary.process.settings import CaFile, RedisUrl, load
from rotary.redis import state
from rotary.redis.connection import connect
from rotary.redis.state import StateStore
from rotary_admin.printing import print_object
from rotary_admin.program import Failure, confirm, json_option, yes_option

POLL_SECONDS = 0.1
PATIENCE_SECONDS = 30


class RedisSettings(Struct, frozen=True):
    """What this command needs."""

    redis_url: RedisUrl
    ca_file: CaFile = ""


class Rebuilt(Struct, frozen=True):
    """How it went: keys removed, messages replayed, events in them, seconds in all."""

    keys_removed: int
    messages: int
    events: int
    seconds: float


@click.command()
@yes_option
@json_option
def rebuild(yes: bool, as_json: bool) -> None:  # noqa: FBT001  they are the flags
    """Remove all facts from Redis and have a consumer replay the logs. /monitor answers 503 until it is done."""
    url = load(RedisSettings, os.environ).redis_url
    confirm("Rebuild all facts? /monitor answers 503 until it is done.", yes)
    done = asyncio.run(_rebuild(url))
    if as_json:
        print_object(done)
    else:
        click.echo(f"rebuilt: {done.events} events from {done.messages} messages in {done.seconds:.1f} s")


async def _rebuild(url: str) -> Rebuilt:
    async with aclosing(connect(url)) as client:
        store, owner, began = StateStore(client), f"rotary-admin-{token_hex(4)}", time.monotonic()
        await store.prepare()
        if not await store.acquire_rebuild(owner):
            raise Failure("a rebuild is under way already")
        removed = await store.wipe(owner)
        await _follow(store)
        last = await store.last_progress() or state.Progress(0, 0, 0, 0, 0)
        return Rebuilt(removed, last.replayed, last.events, round(time.monotonic() - began, 3))


async def _follow(store: StateStore) -> None:
    """Shows the consumer's progress until the facts are complete."""
    last, silent_since = None, time.monotonic()
    columns = (TextColumn("rebuilding"), BarColumn(), MofNCompleteColumn(), TextColumn("messages"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        while not (await store.read()).is_ready:
            if (progress := await store.progress()) and progress != last:
                last, silent_since = progress, time.monotonic()
                bar.update(task, completed=progress.replayed, total=progress.total)
            if time.monotonic() - silent_since > PATIENCE_SECONDS:
                raise Failure("no consumer rebuilds: start one, it will begin by itself")
            await asyncio.sleep(POLL_SECONDS)
