"""What open streams cost: memory of a thousand in one process, and the bytes of deltas against those of snapshots."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from statistics import median
from time import monotonic

import aiohttp
import psutil
from msgspec import Struct

from benchmarks.processes import until
from benchmarks.run import Run
from benchmarks.table import Row, at_most
from benchmarks.world import Customer, Group, World, open_world, query_service
from rotary.publisher import EventFactory

STREAMS = 1_000
GROUPS = 20
MEMBERS = 1_000
CHANGES_A_SECOND = 50
CHANGE_SECONDS = 0.02
SETTLE_SECONDS = 3.0
HEADS = {"snapshots": "text/event-stream", "deltas": "text/event-stream; deltas=1"}


async def measure(run: Run) -> None:
    """Every row about streams."""
    names = ("memory", "bytes")
    if not any(run.wants(f"streams.{name}") for name in names):
        return
    async with open_world(run, run.cores.measured, run.cores.rest) as world:
        streams = Streams(run, world, await world.customer())
        await run.each({"streams.memory": streams.memory, "streams.bytes": streams.bytes})


class Reader:
    """One open stream that is read as it comes."""

    def __init__(self) -> None:
        self.bytes = 0
        self.events = 0


class Memory(Struct, frozen=True):
    """The resident memory of a process in MiB: idle, with all streams open, and after all of them got changes."""

    idle: float
    opened: float
    changed: float

    @property
    def more(self) -> float:
        """The most that it had above the idle process."""
        return max(self.opened, self.changed) - self.idle


class Streams:
    """The cases, on one customer."""

    def __init__(self, run: Run, world: World, customer: Customer) -> None:
        self.run = run
        self.world = world
        self.customer = customer
        self._source = EventFactory("/benchmark")

    async def memory(self) -> Sequence[Row]:
        """Half of the streams are of deltas; dashboards look at a few groups, one of which is large."""
        groups = [await self.world.group(self.customer) for _ in range(GROUPS - 1)]
        groups.append(await self.world.group(self.customer, MEMBERS))
        found = [await self._memory(groups) for _ in range(self.run.scale.long_drains)]
        more = [one.more for one in found]
        return [
            Row(
                case=f"{STREAMS:,} open streams, half of them deltas: memory above the idle process",
                figure=median(more),
                unit="MiB",
                goal=at_most(35),
                detail=f"{median(more) * 1024 / STREAMS:.1f} KiB a stream; {GROUPS} groups, one of {MEMBERS:,} members;"
                f" idle {median(one.idle for one in found):.0f} MiB",
                samples={"MiB": more},
            )
        ]

    async def _memory(self, groups: Sequence[Group]) -> Memory:
        most = str(2 * STREAMS)
        limits = {
            "max_streams_per_token": most,
            "max_streams_per_customer": most,
            "max_connections_per_address": most,
        }
        async with AsyncExitStack() as stack:
            base, _ = await stack.enter_async_context(query_service(self.run, self.run.cores.measured, **limits))
            process = _listener(base)
            for group in groups:  # what is cached for plain reads is no stream's
                await self._fetch(base, group)
            idle = _mib(process)
            readers = [
                await stack.enter_async_context(self._reading(base, groups[at % GROUPS], kind))
                for at in range(STREAMS // 2)
                for kind in HEADS
            ]
            await until(partial(_all_got, readers, 1), "every stream has had an event")
            opened = _mib(process)
            for _ in range(3):
                before = [reader.events for reader in readers]
                await self._change(groups)
                await until(partial(_all_got_more, readers, before), "every stream has had a change")
            return Memory(idle, opened, _mib(process))

    async def bytes(self) -> Sequence[Row]:
        """A large group of which a few members change, all the time."""
        group = await self.world.group(self.customer, MEMBERS)
        async with AsyncExitStack() as stack:
            readers = {
                kind: await stack.enter_async_context(self._reading(self.world.base, group, kind)) for kind in HEADS
            }
            await until(partial(_all_got, [*readers.values()], 1), "both streams have had a snapshot")
            changes = await self._call_in_turn(group, self.run.scale.probe_seconds)
        sent = {kind: reader.bytes for kind, reader in readers.items()}
        return [
            Row(
                case=f"a stream of deltas, {MEMBERS:,} members, {CHANGES_A_SECOND} changes/s: bytes against snapshots",
                figure=100 * sent["deltas"] / sent["snapshots"],
                unit="%",
                goal=at_most(3),
                detail=f"{sent['deltas'] / 1024:,.0f} KiB against {sent['snapshots'] / 1024:,.0f} KiB, with the first"
                f" snapshot of both; {changes:,} changes, {readers['deltas'].events:,} events",
                samples={"bytes": [float(number) for number in sent.values()]},
            )
        ]

    async def _call_in_turn(self, group: Group, seconds: float) -> int:
        """A call of one member after the other, at the rate that is asked for; returns how many."""
        began, number = monotonic(), 0
        while (now := monotonic() - began) < seconds:
            due = int(now * CHANGES_A_SECOND) + 1
            callers = [group.callers[at % MEMBERS] for at in range(number, due)]
            await self.world.fold(self.customer, [self._source.call_placed(caller) for caller in callers])
            number = max(number, due)
            await asyncio.sleep(CHANGE_SECONDS)
        return number

    async def _change(self, groups: Sequence[Group]) -> None:
        callers = [caller for group in groups for caller in group.callers[:10]]
        await self.world.fold(self.customer, [self._source.call_placed(caller) for caller in callers])

    async def _fetch(self, base: str, group: Group) -> None:
        async with (
            aiohttp.ClientSession(headers=self.customer.headers) as session,
            session.get(base + group.monitor) as answer,
        ):
            answer.raise_for_status()
            await answer.read()

    @asynccontextmanager
    async def _reading(self, base: str, group: Group, kind: str) -> AsyncIterator[Reader]:
        """A client of a new stream, on a bare connection: a thousand sessions of aiohttp would be what is measured."""
        host, _, port = base.removeprefix("http://").partition(":")
        incoming, outgoing = await asyncio.open_connection(host, int(port))
        head = f"GET {group.monitor} HTTP/1.1\r\nHost: {host}\r\nAccept: {HEADS[kind]}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in self.customer.headers.items())
        outgoing.write(f"{head}\r\n".encode())
        status = await incoming.readuntil(b"\r\n\r\n")
        if b" 200 " not in status.partition(b"\r\n")[0]:
            raise RuntimeError(status.decode())
        reader = Reader()
        reading = asyncio.create_task(_read(incoming, reader))
        try:
            yield reader
        finally:
            reading.cancel()
            outgoing.close()


async def _read(incoming: asyncio.StreamReader, reader: Reader) -> None:
    while data := await incoming.read(1 << 16):
        reader.bytes += len(data)
        reader.events += data.count(b"event: ")


async def _all_got(readers: Sequence[Reader], events: int) -> bool:
    return all(reader.events >= events for reader in readers)


async def _all_got_more(readers: Sequence[Reader], before: Sequence[int]) -> bool:
    return all(reader.events > had for reader, had in zip(readers, before, strict=True))


def _listener(base: str) -> psutil.Process:
    """The process that listens there."""
    port = int(base.rpartition(":")[2])
    for child in psutil.Process().children(recursive=True):
        if any(one.laddr.port == port and one.status == psutil.CONN_LISTEN for one in child.net_connections()):
            return child
    raise RuntimeError(f"nobody listens on {base}")


def _mib(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20
