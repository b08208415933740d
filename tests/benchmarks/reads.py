"""How near the API comes to a handler that returns the same bytes: wrk, 32 connections, one core each for both."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from statistics import median
from tempfile import NamedTemporaryFile

import msgspec

from benchmarks.baselines.monitor_seed import seed
from benchmarks.processes import metric, module, web_server
from benchmarks.rounds import in_turn, ratio
from benchmarks.run import Case, Run
from benchmarks.table import Row, at_least, at_most
from benchmarks.world import Customer, Group, World, fetch, open_world, query_service
from benchmarks.wrk import Load, Target, wrk

LIST = "/api/caller-id-groups"
WALL_GROUPS = 20
"""How many groups the dashboards on the wall show: together they get the 5,000 events a second."""
BASELINE_DATABASE = 4

Background = Callable[[frozenset[int]], AbstractAsyncContextManager[None]]
"""A load on these cores, for as long as the block lasts."""
BareTarget = Callable[[Sequence[str]], Target]
"""The bare handler, asked for these paths."""


async def measure(run: Run) -> None:
    """Every row about reads."""
    names = ("hot", "list", "detail", "304", "folding", "cold", "thousand", "day")
    if not any(run.wants(f"reads.{name}") for name in names):
        return
    async with open_world(run, run.cores.measured, run.cores.rest) as world:
        reads = await Reads.prepared(run, world)
        cases: dict[str, Case] = {
            "reads.hot": reads.hot,
            "reads.list": partial(reads.document, LIST, "list"),
            "reads.detail": partial(reads.document, reads.hot_group.path, "detail, 12 members"),
            "reads.304": reads.revalidation,
            "reads.folding": reads.folding,
            "reads.cold": reads.cold,
            "reads.thousand": reads.thousand,
            "reads.day": reads.day,
        }
        await run.each(cases)


class Reads:
    """The cases, on a customer whose hot group has a bit of everything."""

    def __init__(self, run: Run, world: World, customer: Customer, hot_group: Group) -> None:
        self.run = run
        self.world = world
        self.customer = customer
        self.hot_group = hot_group

    @classmethod
    async def prepared(cls, run: Run, world: World) -> "Reads":
        """With calls on every member, one of them over its cap, one resting."""
        customer = await world.customer()
        group = await world.group(customer)
        await world.place(customer, group.callers, 60)
        await world.place(customer, group.callers[:1], 200)
        await world.flag(customer, group.callers[1])
        return cls(run, world, customer, group)

    async def hot(self) -> Sequence[Row]:
        """One group that everybody looks at."""
        ours, bare = await self._against_bare([self.hot_group.monitor], await self._body(self.hot_group.monitor))
        return [
            _rates("hot monitor, 12 members", ours, bare, 0.85),
            Row(
                case="hot monitor, 12 members: p99",
                figure=ratio([load.p99_ms for load in ours], [load.p99_ms for load in bare]),
                unit="× bare",
                goal=at_most(2),
                detail=_told("{:.2f} ms", [load.p99_ms for load in ours], [load.p99_ms for load in bare]),
                samples={"ours": [load.p99_ms for load in ours], "bare": [load.p99_ms for load in bare]},
            ),
        ]

    async def document(self, path: str, name: str) -> Sequence[Row]:
        """The list or a group's detail."""
        ours, bare = await self._against_bare([path], await self._body(path))
        return [_rates(f"hot {name}", ours, bare, 0.85)]

    async def revalidation(self) -> Sequence[Row]:
        """Clients that have the newest body already."""
        _, etag = await self.world.answer(self.customer, self.hot_group.monitor)
        headers, counter = {"If-None-Match": etag}, 'rotary_query_requests_total{route="monitor",status="200"}'
        before = await metric(self.world.ops, counter)
        ours, bare = await self._against_bare([self.hot_group.monitor], b"", headers, "--status", "304")
        if changed := await metric(self.world.ops, counter) - before:
            raise RuntimeError(f"the group changed meanwhile: {changed:,.0f} answers were no 304")
        return [_rates("revalidation, 304", ours, bare, 0.90)]

    async def folding(self) -> Sequence[Row]:
        """A wall of groups, all of them changing all the time."""
        groups = [await self.world.group(self.customer) for _ in range(WALL_GROUPS)]
        callers = [caller for group in groups for caller in group.callers]
        await self.world.place(self.customer, callers, 20)
        paths = [group.monitor for group in groups]
        target, load = self._target(paths), partial(self.world.dialled, self.customer, callers, 5_000.0)
        async with self._bare(await self._body(paths[0])) as bare:
            loaded = {name: partial(self._beside, load, at) for name, at in (("ours", target), ("busy", bare(paths)))}
            found = await in_turn(self.run.scale.rounds, {**loaded, "bare": partial(self._wrk, bare(paths))})
        return [
            _rates("hot monitor while 5,000 events/s are folded", found["ours"], found["bare"], 0.50),
            _rates("  the same against bare beside the same fold", found["ours"], found["busy"], None),
        ]

    async def cold(self) -> Sequence[Row]:
        """A cache too small for what is asked of it: every request goes to Redis."""
        customer = await self.world.customer()
        groups = await self.world.cold_groups(customer, self.run.scale.cold_groups)
        paths = [group.monitor for group in groups]
        async with query_service(self.run, self.run.cores.measured, cache_megabytes="1") as (base, ops):
            target = Target(base, paths, customer.headers)
            body = await self.world.body(customer, paths[0])
            async with self._bare(body) as bare:
                before = await metric(ops, "rotary_query_cold_reads_total")
                # Three programs share what is slow for a moment, so that the rounds scatter more than others.
                ours, theirs = await self._contest(target, bare(paths), 3 * self.run.scale.rounds)
            read = await metric(ops, "rotary_query_cold_reads_total") - before
            if read < 0.95 * sum(load.requests for load in ours):
                raise RuntimeError(f"only {read:,.0f} requests were cold")
        return [_rates(f"every request another of {len(paths):,} cold groups", ours, theirs, 0.30)]

    async def thousand(self) -> Sequence[Row]:
        """A large group and a small one, each changing once a second."""
        large = await self.world.group(self.customer, 1_000)
        small = await self.world.group(self.customer)
        await self.world.place(self.customer, (*large.callers, *small.callers), 20)
        changing = [large.callers[0], small.callers[0]]
        async with self.world.dialled(self.customer, changing, 2.0, self.run.cores.rest):
            loads = await self._contest(self._target([large.monitor]), self._target([small.monitor]))
        sizes = (len(large.callers), len(small.callers))
        each = [[1e9 / load.rate / size for load in some] for some, size in zip(loads, sizes, strict=True)]
        return [
            Row(
                case="1,000 members, changing each second: time a member",
                figure=ratio(*each),
                unit="× of 12",
                goal=at_most(1),
                detail=_told("{:,.0f} ns", *each)
                + f"; p99 {median(load.p99_ms for load in loads[0]):.1f} ms at {loads[0][0].rate:,.0f}/s",
                samples={"1,000 members, ns": each[0], "12 members, ns": each[1]},
            )
        ]

    async def day(self) -> Sequence[Row]:
        """What one writes in a day, given the same data."""
        database, path = self.run.servers.database(BASELINE_DATABASE), self.hot_group.monitor
        body = await self._body(path)
        await seed(database, body, self.customer)
        app = module("benchmarks.baselines.fastapi_monitor", "--redis", database)
        async with web_server(self.run.cores.measured, *app) as base:
            target = Target(base, [path], self.customer.headers)
            theirs_says, _ = await fetch(self.customer, base + path)
            if msgspec.json.decode(theirs_says) != msgspec.json.decode(body):
                raise RuntimeError("the baseline answers with other data")
            ours, theirs = await self._contest(self._target([path]), target)
        return [_rates("hot monitor against FastAPI + pipeline + pydantic", ours, theirs, 10, "× FastAPI")]

    async def _body(self, path: str) -> bytes:
        return await self.world.body(self.customer, path)

    def _target(self, paths: Sequence[str], headers: Mapping[str, str] | None = None) -> Target:
        return Target(self.world.base, paths, {**self.customer.headers, **(headers or {})})

    async def _wrk(self, target: Target) -> Load:
        return await wrk(target, self.run.scale.seconds, self.run.cores.rest)

    async def _beside(self, load: Background, target: Target) -> Load:
        async with load(self.run.cores.rest):
            return await self._wrk(target)

    async def _contest(self, ours: Target, theirs: Target, rounds: int = 0) -> tuple[list[Load], list[Load]]:
        for target in (ours, theirs):
            await wrk(target, 1, self.run.cores.rest)
        contenders = {"ours": partial(self._wrk, ours), "theirs": partial(self._wrk, theirs)}
        found = await in_turn(rounds or self.run.scale.rounds, contenders)
        return found["ours"], found["theirs"]

    async def _against_bare(
        self, paths: Sequence[str], body: bytes, headers: Mapping[str, str] | None = None, *options: str
    ) -> tuple[list[Load], list[Load]]:
        async with self._bare(body, *options) as bare:
            target = self._target(paths, headers)
            # The same request to both, so that both have the same to parse.
            return await self._contest(target, Target(bare(paths).base, paths, target.headers))

    @asynccontextmanager
    async def _bare(self, body: bytes, *options: str) -> AsyncIterator[BareTarget]:
        with NamedTemporaryFile(dir=self.run.folder) as file:
            file.write(body)
            file.flush()
            argv = module("benchmarks.baselines.bare_http", "--body", file.name, *options)
            async with web_server(self.run.cores.measured, *argv) as base:
                yield lambda paths: Target(base, paths, self.customer.headers)


def _rates(case: str, ours: Sequence[Load], theirs: Sequence[Load], goal: float | None, unit: str = "× bare") -> Row:
    rates = [load.rate for load in ours], [load.rate for load in theirs]
    return Row(
        case=case,
        figure=ratio(*rates),
        unit=unit,
        goal=None if goal is None else at_least(goal),
        detail=_told("{:,.0f}/s", *rates) + f", p99 {median(load.p99_ms for load in ours):.2f} ms",
        samples={"ours": rates[0], "theirs": rates[1]},
    )


def _told(form: str, ours: Sequence[float], theirs: Sequence[float]) -> str:
    return f"{form.format(median(ours))} against {form.format(median(theirs))}"
