"""Picks over HTTP: wrk, 64 connections, a group of 12, one core for whoever answers, Redis and wrk on the others."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from hashlib import sha256
from statistics import median
from tempfile import NamedTemporaryFile

import aiohttp
import msgspec
from redis.asyncio import Redis

from benchmarks.baselines.fastapi_picks import StoredGroup, StoredMember
from benchmarks.processes import free_port, module, service, until, web_server
from benchmarks.rounds import in_turn, ratio
from benchmarks.run import Case, Run
from benchmarks.table import Row, at_least, at_most
from benchmarks.world import Customer, Group, World, open_world
from benchmarks.wrk import Load, Target, wrk
from rotary.redis.connection import load_functions
from rotary.redis.picks import open_picks

CONNECTIONS = 64
RATE = 2_000.0
RATE_CONNECTIONS = 256
"""At a rate: with many, each pauses for long, so that an answer that is late delays few requests."""
BATCH = 100
BATCH_CONNECTIONS = 16
"""Requests of a hundred: with more at once each only waits longer."""
DAILY_CAP = 1_000_000_000
"""Nobody runs out: a refusal is another amount of work."""
BASELINE_DATABASE = 4
ONE = msgspec.json.encode({"lead_id": "L-20261126-0042"})
MANY = msgspec.json.encode({"picks": [{"lead_id": f"L-20261126-{number:04}"} for number in range(BATCH)]})


async def measure(run: Run) -> None:
    """Every row about picks over HTTP."""
    names = ("rate", "steady", "batch", "day", "monitor")
    if not any(run.wants(f"picks.{name}") for name in names):
        return
    async with open_world(run, run.cores.measured, run.cores.rest) as world:
        await load_functions(world.redis)
        await open_picks(world.redis)  # no pick can be out: this Redis is the benchmarks' own
        picks = await _prepared(run, world)
        async with _engine(run, run.cores.measured) as (base, ops):
            await until(lambda: picks.is_picking(base), "the engine picks")
            cases: dict[str, Case] = {
                "picks.rate": partial(picks.rate, base),
                "picks.steady": partial(picks.steady, base),
                "picks.batch": partial(picks.batch, base, ops),
                "picks.day": partial(picks.day, base),
            }
            await run.each(cases)
        async with _engine(run, run.cores.rest) as (base, _):
            await run.each({"picks.monitor": partial(picks.monitor, base)})


async def _prepared(run: Run, world: World) -> "PickCases":
    customer = await world.customer()
    return PickCases(run, world, customer, await world.group(customer, daily_cap=DAILY_CAP))


@asynccontextmanager
async def _engine(run: Run, where: frozenset[int]) -> AsyncIterator[tuple[str, str]]:
    """An engine; its URL and its ops URL."""
    bind = f"127.0.0.1:{free_port()}"
    async with service(where, "rotary_engine", {**run.servers.settings(), "ROTARY_ENGINE_BIND": bind}) as (_, ops):
        yield f"http://{bind}", ops


class PickCases:
    """The cases, on one customer's group."""

    def __init__(self, run: Run, world: World, customer: Customer, group: Group) -> None:
        self.run = run
        self.world = world
        self.customer = customer
        self.group = group

    async def is_picking(self, base: str) -> bool:
        """Whether the engine picks from the group."""
        status, _ = await self._ask(base)
        return status == 201

    async def rate(self, base: str) -> Sequence[Row]:
        """Flat out, against one that touches nothing, and one that makes the same call of Redis for each request."""
        async with self._bare(base) as bare, self._bare_fcall() as fcall:
            found = await self._contest({"ours": self._target(base), "bare": bare, "fcall": fcall})
        ours = found["ours"]
        p99 = [load.p99_ms for load in ours]
        return [
            _rates("picks, against a bare handler that touches nothing", ours, found["bare"], 0.5, "× bare"),
            _rates("  against a bare handler, one FCALL through redis-py", ours, found["fcall"], 2, "× FCALL"),
            Row(
                case="  p99, 64 connections flat out",
                figure=median(p99),
                unit="ms",
                goal=at_most(8),
                detail=f"{median(load.p99_ms for load in found['bare']):.1f} ms bare, "
                f"{median(load.p99_ms for load in found['fcall']):.1f} ms FCALL",
                samples={"ours": p99},
            ),
        ]

    async def steady(self, base: str) -> Sequence[Row]:
        """At a dialer's pace."""
        at_rate = partial(self._wrk, self._target(base), rate=RATE, connections=RATE_CONNECTIONS)
        await at_rate()
        loads = [await at_rate() for _ in range(self.run.scale.rounds)]
        p99 = [load.p99_ms for load in loads]
        rate = median(load.rate for load in loads)
        if rate < 0.9 * RATE:
            raise RuntimeError(f"only {rate:,.0f} of {RATE:,.0f} picks/s were asked for")
        return [
            Row(
                case="picks at 2,000/s: p99",
                figure=median(p99),
                unit="ms",
                goal=at_most(5),
                detail=f"{rate:,.0f}/s, p50 {median(load.p50_ms for load in loads):.2f} ms",
                samples={"ms": p99},
            )
        ]

    async def batch(self, base: str, ops: str) -> Sequence[Row]:
        """Requests of a hundred, against single ones."""
        many_at_once = partial(self._wrk, self._target(base, MANY), connections=BATCH_CONNECTIONS)
        await many_at_once()
        one_by_one = partial(self._wrk, self._target(base))
        found = await in_turn(self.run.scale.rounds, {"many": many_at_once, "one": one_by_one})
        refused = await metric_sum(ops, 'outcome="refused"')
        if refused:
            raise RuntimeError(f"{refused:,.0f} picks were refused")
        many, one = [BATCH * load.rate for load in found["many"]], [load.rate for load in found["one"]]
        return [
            Row(
                case="picks in requests of 100, against single ones",
                figure=ratio(many, one),
                unit="×",
                goal=at_least(6),
                detail=f"{median(many):,.0f} picks/s against {median(one):,.0f}/s",
                samples={"batched": many, "single": one},
            )
        ]

    async def day(self, base: str) -> Sequence[Row]:
        """What one writes in a day, given the same group."""
        database = self.run.servers.database(BASELINE_DATABASE)
        await self._seed(database)
        app = module("benchmarks.baselines.fastapi_picks", "--redis", database)
        async with web_server(self.run.cores.measured, *app) as theirs:
            (_, ours_says), (status, theirs_says) = await self._ask(base), await self._ask(theirs)
            if status != 201 or ours_says.keys() != theirs_says.keys():
                raise RuntimeError(f"the baseline answers with {status} and other fields: {theirs_says}")
            found = await self._contest({"ours": self._target(base), "theirs": self._target(theirs)})
        return [
            _rates(
                "picks, against FastAPI + pipeline, check then increment",
                found["ours"],
                found["theirs"],
                15,
                "× FastAPI",
            )
        ]

    async def monitor(self, base: str) -> Sequence[Row]:
        """Reads of the very group that is picked from."""
        target = Target(self.world.base, [self.group.monitor], self.customer.headers)

        async def read() -> Load:
            return await wrk(target, self.run.scale.seconds, self.run.cores.rest)

        async def beside() -> Load:
            at_rate = self._wrk(self._target(base), extra=1, rate=RATE, connections=RATE_CONNECTIONS)
            picking = asyncio.create_task(at_rate)
            await asyncio.sleep(0.3)  # wrk has connected
            load = await read()
            picked = await picking
            if picked.rate < 0.85 * RATE:
                raise RuntimeError(f"only {picked.rate:,.0f} picks/s were made meanwhile")
            return load

        await read()
        found = await in_turn(self.run.scale.rounds, {"busy": beside, "idle": read})
        return [_rates("hot monitor while 2,000 picks/s run in its group", found["busy"], found["idle"], 0.5, "× idle")]

    def _target(self, base: str, body: bytes = ONE) -> Target:
        return Target(base, [self.group.picks], self._headers, body)

    @property
    def _headers(self) -> Mapping[str, str]:
        return {**self.customer.headers, "Content-Type": "application/json"}

    async def _ask(self, base: str) -> tuple[int, dict[str, object]]:
        async with (
            aiohttp.ClientSession(headers=self._headers) as session,
            session.post(base + self.group.picks, data=ONE) as answer,
        ):
            told = await answer.json()
            return answer.status, told.get("data", told)

    async def _wrk(
        self, target: Target, *, extra: float = 0, rate: float | None = None, connections: int = CONNECTIONS
    ) -> Load:
        lasts = self.run.scale.seconds + extra
        return await wrk(target, lasts, self.run.cores.rest, connections=connections, rate=rate)

    async def _contest(self, targets: Mapping[str, Target]) -> dict[str, list[Load]]:
        for target in targets.values():
            await self._wrk(target)
        return await in_turn(self.run.scale.rounds, {name: partial(self._wrk, one) for name, one in targets.items()})

    @asynccontextmanager
    async def _bare(self, base: str) -> AsyncIterator[Target]:
        _, body = await self._ask(base)
        with NamedTemporaryFile(dir=self.run.folder) as file:
            file.write(msgspec.json.encode({"data": body}))
            file.flush()
            argv = module("benchmarks.baselines.bare_http", "--body", file.name)
            async with web_server(self.run.cores.measured, *argv) as bare:
                yield self._target(bare)

    @asynccontextmanager
    async def _bare_fcall(self) -> AsyncIterator[Target]:
        which = ("--customer", str(self.customer.id), "--group", str(self.group.id))
        argv = module("benchmarks.baselines.bare_fcall", "--redis", self.run.servers.database(0), *which)
        async with web_server(self.run.cores.measured, *argv) as base:
            yield self._target(base)

    async def _seed(self, redis_url: str) -> None:
        """Gives the baseline the same group."""
        stored = StoredGroup(customer_id=self.customer.id, is_sticky=False, members=list(self.group.callers))
        detail = msgspec.json.decode(await self.world.body(self.customer, self.group.path))["data"]
        async with Redis.from_url(redis_url) as redis:
            await redis.flushdb()
            await redis.set(f"token:{sha256(self.customer.token.encode()).hexdigest()}", self.customer.id)
            await redis.set(f"group:{self.group.id}", stored.model_dump_json())
            for one in detail["caller_ids"]:
                member = StoredMember(disabled=one["status"] == "disabled", daily_cap=DAILY_CAP, **one)
                fields = member.model_dump(mode="json", exclude_none=True)
                await redis.hset(f"member:{one['id']}", mapping={name: str(value) for name, value in fields.items()})


async def metric_sum(ops: str, label: str) -> float:
    """The picks of an engine that have this label."""
    async with aiohttp.ClientSession() as session, session.get(f"{ops}/metrics") as response:
        lines = (await response.text()).splitlines()
    return sum(
        float(line.split()[-1]) for line in lines if line.startswith("rotary_engine_picks_total{") and label in line
    )


def _rates(case: str, ours: Sequence[Load], theirs: Sequence[Load], goal: float, unit: str) -> Row:
    rates = [load.rate for load in ours], [load.rate for load in theirs]
    return Row(
        case=case,
        figure=ratio(*rates),
        unit=unit,
        goal=at_least(goal),
        detail=f"{median(rates[0]):,.0f}/s against {median(rates[1]):,.0f}/s, "
        f"p99 {median(load.p99_ms for load in ours):.2f} ms against {median(load.p99_ms for load in theirs):.2f}",
        samples={"ours": rates[0], "theirs": rates[1]},
    )
