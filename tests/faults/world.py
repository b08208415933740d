"""The world a fault strikes: a stack of the tests' own, its customers, the ledger, and who watches."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from signal import SIGCONT
from typing import NamedTuple

import aio_pika
import aiohttp
from redis.asyncio import Redis

from faults import definitions, load, stored
from faults.check import Verdict, compare
from faults.definitions import customer, quiet_zone
from faults.ledger import Ledger
from faults.load import Load, Shape, Shipment
from faults.streams import Stream, streaming
from faults.watch import Api, Watch, watching
from faults.witness import Witness, witnessing
from histories import flagged, placed
from rotary.clock import Clock, system_clock
from rotary.domain.facts import total
from rotary.errors import UnavailableError
from rotary.redis.connection import connect
from rotary_stack.stack import Options, Stack

CONSUMERS = 2
CUSTOMERS = 3
"""Those that the load is of. One more is a bystander."""
PATIENCE_SECONDS = 60.0
TAIL_LINES = 40


class Servers(NamedTuple):
    """The stack, a client of its Redis, one of its API, and who listens at Redis."""

    stack: Stack
    redis: Redis
    session: aiohttp.ClientSession
    witness: Witness


class World:
    """Everything a fault needs at hand."""

    def __init__(self, servers: Servers, api_url: str, query_ops_url: str, clock: Clock, timezone: str) -> None:
        self.stack = stack = servers.stack
        self.redis = servers.redis
        self.session = servers.session
        self.witness = servers.witness
        self.clock = clock
        self.timezone = timezone
        self.variables = stack.variables()
        self.rabbitmq_url = self.variables["ROTARY_RABBITMQ_URL"]
        self.dialing = [customer(number) for number in range(1, CUSTOMERS + 1)]
        self.bystander = customer(CUSTOMERS + 1)
        self.customers = [*self.dialing, self.bystander]
        self.ledger = Ledger()
        self.api = Api(api_url, self.session)
        self.query_ops_url = query_ops_url
        self.others: dict[str, str] = {}
        """The ops URLs of services that run in place of the stack's, by name."""

    def load(self, name: str, shape: Shape) -> Load:
        """A load of that shape, not yet started."""
        drawn = load.plan(name, self.dialing, shape, self.clock)
        return Load(self.ledger, self.rabbitmq_url, drawn, shape.rate)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[tuple[Watch, Mapping[int, Stream]]]:
        """Somebody reads every list and monitor, and streams, while the block lasts."""
        watch = Watch(self.ledger, self.timezone, self.clock)
        async with watching(self.api, self.customers, watch), streaming(self.api, self.customers, watch) as streams:
            yield watch, streams

    def ops_urls(self) -> dict[str, str]:
        """Of every service that runs, by name."""
        programs = self.stack.status().programs.values()
        ours = {one.name: one.url for one in programs if one.state == "running" and one.data is None}
        return {name: url for name, url in ours.items() if name.startswith(("consumer", "query"))} | self.others

    async def rabbitmqctl(self, *arguments: str) -> str:
        """Runs rabbitmqctl on our broker and returns what it prints."""
        program = self.variables["ROTARY_STACK_RABBITMQCTL"]
        process = await asyncio.create_subprocess_exec(
            program, "--quiet", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, f"rabbitmqctl {' '.join(arguments)}: {output.decode()}"
        return output.decode()

    async def mend(self) -> None:
        """Starts what a fault before left dead, and lets go on what it left stopped, having failed.

        Returns when every monitor answers.
        """
        for one in self.stack.status().programs.values():
            if one.pid is not None:
                os.kill(one.pid, SIGCONT)
            await self.stack.start(one.name)
        await self.redis.config_set("maxmemory", "0")
        await self.redis.replicaof("NO", "ONE")
        await until(self.monitors_answer, "every monitor answers")

    def log_tails(self) -> dict[str, str]:
        """The end of what each of our own programs logged, after every error before that."""
        programs = self.stack.status().programs
        logs = {name: Path(programs[name].log) for name in programs if name.startswith(("consumer", "query"))}
        return {name: _interesting(log.read_text().splitlines()) for name, log in logs.items() if log.exists()}

    async def pid(self, name: str) -> int:
        """The process of a program of the stack."""
        pid = self.stack.status().programs[name].pid
        assert pid is not None
        return pid

    async def verdict(self) -> Verdict:
        """Every caller ID of every customer. Raises UnavailableError."""
        verdict = Verdict()
        for one in self.customers:
            found = await stored.read(self.redis, one, self.clock())
            # In a thread: it takes seconds after much load, and readers would find their answers late.
            verdict += await asyncio.to_thread(compare, self.ledger, one.id, found)
        return verdict

    async def recovered(self) -> Verdict:
        """Returns as soon as every monitor answers 200 and the facts are as they should be; else what is wrong."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                late = time.monotonic() > deadline
                if (late or await self._counts_fit()) and ((verdict := await self.verdict()).is_clean or late):
                    return verdict
            except UnavailableError:
                assert time.monotonic() < deadline, "Redis is still away"
            await asyncio.sleep(0.05)

    async def _counts_fit(self) -> bool:
        """Cheap, and false for as long as something is missing: the verdict costs a hundred times as much."""
        known, most = len(self.ledger.confirmed), len(self.ledger.sent)
        found = 0
        for one in self.customers:
            facts_by_caller = await stored.read_facts(self.redis, one, self.clock())
            found += sum(
                sum(map(total, caller_facts.calls.values())) + len(caller_facts.flags)
                for caller_facts in facts_by_caller.values()
            )
        # Clears leave no trace to count, a hundredth of all: the verdict tells.
        return 0.95 * known <= found <= most and await self.monitors_answer()

    async def monitors_answer(self) -> bool:
        for one in self.customers:
            for group in one.groups:
                if (await self.api.monitor(one, group)).status != 200:
                    return False
        return True

    async def quiet(self) -> None:
        """Returns when all that the broker had when this was called is in the facts: nothing changes them then."""
        since_ms: int | None = None

        async def is_quiet() -> bool:
            nonlocal since_ms
            try:
                now_ms, bucket_statuses = await stored.bucket_statuses(self.redis)
            except UnavailableError:
                return False
            since_ms = since_ms or now_ms
            return all(one.complete_ms > since_ms for one in bucket_statuses)

        await until(is_quiet, "every bucket holds all that was published")

    async def waiting(self, queue: str) -> int:
        """Messages ready in a queue."""
        async with await aio_pika.connect(self.rabbitmq_url) as connection:
            channel = await connection.channel()
            declared = await channel.declare_queue(queue, passive=True)
            return declared.declaration_result.message_count or 0


def _interesting(lines: Sequence[str]) -> str:
    errors = [line for line in lines[:-TAIL_LINES] if '"level": "error"' in line]
    return "\n".join([*errors[-TAIL_LINES:], *lines[-TAIL_LINES:]])


async def until(holds: Callable[[], Awaitable[object]], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Waits for a condition. Fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not await holds():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        await asyncio.sleep(0.05)


@asynccontextmanager
async def open_servers(*, services: bool) -> AsyncIterator[Servers]:
    """A stack, and what looks into it."""
    async with AsyncExitStack() as exits:
        options = Options(services=services, consumers=CONSUMERS)
        stack = await exits.enter_async_context(Stack.open(options))
        session = await exits.enter_async_context(aiohttp.ClientSession())
        redis_url = stack.variables()["ROTARY_REDIS_URL"]
        redis = connect(redis_url)
        exits.push_async_callback(redis.aclose)
        yield Servers(stack, redis, session, await exits.enter_async_context(witnessing(redis_url)))


@asynccontextmanager
async def open_world() -> AsyncIterator[World]:
    """A running stack whose customers have definitions, a little history, and about noon."""
    async with open_servers(services=True) as servers:
        world = world_of(servers)
        await begin(world)
        yield world


def world_of(servers: Servers) -> World:
    """The world around a stack with services, where it is about noon; nobody is in it yet."""
    clock, variables = system_clock(), servers.stack.variables()
    return World(servers, variables["ROTARY_API_URL"], variables["ROTARY_OPS_URL"], clock, quiet_zone(clock()))


async def begin(world: World) -> None:
    """Definitions; one caller ID of each customer is blocked, another beyond its cap; then all is quiet."""
    await definitions.write(world.variables["ROTARY_POSTGRES_URL"], world.customers, world.timezone)
    await until(world.monitors_answer, "the definitions are projected")
    drawn = world.load("history", Shape())
    now_ms = world.clock()
    for one in world.customers:
        await drawn.send(Shipment(one.id, (flagged("blocked", "blocked", now_ms, one.resting),)))
        calls = tuple(placed(f"spent-{number}", now_ms, one.spent) for number in range(3))
        await drawn.send(Shipment(one.id, calls))
    await drawn.finish()
    assert (await world.recovered()).is_clean
    await world.quiet()
