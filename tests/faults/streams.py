"""Readers of event streams: what each shows is current, or its reader was told that it is not."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
import msgspec
from msgspec import Struct

from faults.definitions import Customer
from faults.watch import Api, Watch, in_background
from rotary.domain.monitor import Monitor

CURRENT_SECONDS = 5.0
"""What a stream shows as current holds all that was confirmed so long ago: facts of two seconds are current, of older
ones its reader is told within two more, and a second is for a machine that is busy with everything else."""
LOOK_SECONDS = 0.25


class _Body(Struct):
    data: Monitor


class Stream:
    """One monitor as a stream shows it. `stale_at` is when its reader was told that it is old (monotonic seconds)."""

    def __init__(self, customer: Customer, group: int) -> None:
        self.customer = customer
        self.group = group
        self.monitor: Monitor | None = None
        self.stale_at: float | None = None
        self.is_open = False

    def take(self, event: str, data: bytes, at: float) -> None:
        """One event as it arrived."""
        match event:
            case "stale":
                self.stale_at = at
            case "snapshot":
                self.monitor = msgspec.json.decode(data, type=_Body).data
                self.stale_at = None

    @property
    def is_current(self) -> bool:
        """Whether its reader takes what it shows for current."""
        return self.is_open and self.monitor is not None and self.stale_at is None

    def old_facts(self, watch: Watch, now: float) -> list[str]:
        """What it lacks and shows as current."""
        if not self.is_current:
            return []
        assert self.monitor is not None
        return watch.missing(self.customer, self.monitor, now - CURRENT_SECONDS, watch.days(0))


@asynccontextmanager
async def streaming(api: Api, customers: list[Customer], watch: Watch) -> AsyncIterator[Mapping[int, Stream]]:
    """A stream of each customer's first group, by group, opened anew whenever it ends, while the block lasts."""
    streams = {group: Stream(one, group) for one in customers for group in list(one.groups)[:1]}
    readers = (_follow(api, stream) for stream in streams.values())
    async with in_background(watch, _look_on(streams, watch), *readers):
        yield streams


async def _look_on(streams: Mapping[int, Stream], watch: Watch) -> None:
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        now = time.monotonic()
        for stream in streams.values():
            if missing := stream.old_facts(watch, now):
                watch.stale.append(f"the stream of group {stream.group}: {'; '.join(missing[:3])}")


async def _follow(api: Api, stream: Stream) -> None:
    while True:
        try:
            await _read(api, stream)
        except (aiohttp.ClientError, OSError, TimeoutError):
            pass
        finally:
            stream.is_open = False
            stream.monitor = stream.stale_at = None
        await asyncio.sleep(0.2)


async def _read(api: Api, stream: Stream) -> None:
    async with api.session.get(
        f"{api.url}/api/caller-id-groups/{stream.group}/monitor",
        headers={"Authorization": f"Bearer {stream.customer.token}", "Accept": "text/event-stream"},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
    ) as response:
        if response.status != 200:
            return
        stream.is_open = True
        event = ""
        async for line in response.content:
            name, _, value = line.rstrip(b"\n").partition(b": ")
            if name == b"event":
                event = value.decode()
            elif name == b"data":
                stream.take(event, value, time.monotonic())
