"""What a pick costs Redis, in time and in bytes, on a server of our own that writes no file."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from statistics import median

from msgspec.structs import replace
from redis.asyncio import Redis

from benchmarks.own_redis import redis_server
from benchmarks.processes import until
from benchmarks.rounds import in_turn, ratio
from benchmarks.run import Run
from benchmarks.table import Row, at_most
from rotary.definitions import CustomerDefinition, GroupDefinition, MemberDefinition
from rotary.domain.rotation.outcomes import Picked, PickRequest
from rotary.policy import DEFAULT_POLICY
from rotary.redis import keys
from rotary.redis.connection import connect, load_functions
from rotary.redis.definition_writer import DefinitionWriter
from rotary.redis.documents import part_of
from rotary.redis.picks import Picks, open_picks
from rotary.redis.pipeline import Pipeline
from rotary.redis.positions import Positions

CUSTOMER = 7
GROUP = 3
SIZES = (12, 1_000, 100_000)
GOALS = {1_000: 1.5, 100_000: 2.0}
PICKS = 1_000
"""In one round of the growth case."""
TOGETHER = 64
"""Picks under way at once, as from so many connections."""
MAX_AGE_MS = 600_000
CALLERS = 1_000
"""That reservations are spread over, where their memory is measured."""


async def measure(run: Run) -> None:
    """Every row about what picks cost Redis."""
    if not any(run.wants(f"picks.{name}") for name in ("growth", "memory")):
        return
    async with redis_server(run, run.cores.measured) as url:
        await run.each({"picks.growth": partial(growth, run, url), "picks.memory": partial(memory, run, url)})


class Picking:
    """One database of the server, with one group, and an engine that picks from it."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._pipeline = Pipeline(redis)
        self._positions = Positions(self._pipeline)
        # Nobody folds here: the facts are as old as the last `advance`, and nothing expires before the next.
        self._picks = Picks(self._pipeline, max_age_ms=MAX_AGE_MS)

    async def prepare(self, group: GroupDefinition) -> None:
        """Defines the group, and makes its plan."""
        await load_functions(self._redis)
        await open_picks(self._redis)
        await self.advance()
        writes = DefinitionWriter(self._redis).round(f"{1:040x}")
        await writes.begin([part_of(CUSTOMER)])
        callers = sorted(one.id for one in group.members)
        await writes.put_customer(CustomerDefinition(CUSTOMER, group.policy, [group], callers))
        await writes.flush()
        await self._redis.hset(part_of(CUSTOMER), "complete", "1")
        await self.pick([PickRequest()])

    async def advance(self) -> None:
        """The facts are complete up to now; what has expired until now ends."""
        now = await self._positions.now_ms()
        await self._positions.advance("calls.0", 0, now, ["calls.0"], [None] * keys.BUCKETS)

    async def pick(self, requests: Sequence[PickRequest], together: int = TOGETHER) -> None:
        """One pick for each, so many at a time."""
        for at in range(0, len(requests), together):
            some = (self._picks.pick(CUSTOMER, GROUP, [one]) for one in requests[at : at + together])
            for [outcome] in await asyncio.gather(*some):
                assert isinstance(outcome, Picked), outcome

    async def microseconds(self, together: int) -> float:
        """The server's own time for one pick, with what it ends of those before."""
        await self.advance()
        await self._redis.config_resetstat()
        await self.pick([PickRequest()] * PICKS, together)
        spent = (await self._redis.info("commandstats"))["cmdstat_fcall"]["usec"]
        return float(spent) / PICKS

    async def used(self) -> int:
        """Bytes of the server's memory without what its clients take."""
        await self._pipeline.close()
        await self._redis.connection_pool.disconnect()

        async def is_alone() -> bool:
            return int((await self._redis.info("clients"))["connected_clients"]) == 1

        await until(is_alone, "no other connection is left", 10)
        told = await self._redis.info("memory")
        return int(told["used_memory"]) - int(told["mem_clients_normal"])

    async def close(self) -> None:
        """Ends what is under way."""
        await self._picks.close()
        await self._pipeline.close()


async def growth(run: Run, url: str) -> Sequence[Row]:
    """Three databases of one server in turn, the same picks; the groups differ in size alone."""
    async with _picking(url, 0) as small, _picking(url, 1) as large, _picking(url, 2) as huge:
        contenders = dict(zip(SIZES, (small, large, huge), strict=True))
        for size, one in contenders.items():
            await one.prepare(_group(size))
            await one.microseconds(TOGETHER)
        cases = {
            (size, together): partial(one.microseconds, together)
            for together in (1, TOGETHER)
            for size, one in contenders.items()
        }
        found = await in_turn(
            run.scale.rounds, {f"{size} {together}": case for (size, together), case in cases.items()}
        )
    return [_grown(found, size, 1, goal) for size, goal in GOALS.items()] + [
        _grown(found, size, TOGETHER, None) for size in GOALS
    ]


def _grown(found: Mapping[str, Sequence[float]], size: int, together: int, goal: float | None) -> Row:
    few, many = found[f"{SIZES[0]} {together}"], found[f"{size} {together}"]
    # Those share calls of the function, in which a member that is picked again and again is read once.
    case = "a pick's time in Redis" if together == 1 else f"  the same, {together} at once"
    return Row(
        case=f"{case}, {SIZES[0]} → {size:,} members",
        figure=ratio(many, few),
        unit="×",
        goal=None if goal is None else at_most(goal),
        detail=f"{median(few):.1f} → {median(many):.1f} µs, least used",
        samples={f"{SIZES[0]}, µs": few, f"{size:,}, µs": many},
    )


async def memory(run: Run, url: str) -> Sequence[Row]:
    """The same picks without leads and with one each: what they hold, and what the bindings add."""
    count = run.scale.counted_picks
    group = _group(CALLERS)
    plain = await _bytes(url, group, [PickRequest()] * count)
    leads = [PickRequest(lead_id=f"L-20261126-{number:06}") for number in range(count)]
    bound = await _bytes(url, replace(group, sticky_enabled=True), leads)
    told = f"{count:,} at once over {CALLERS:,} caller IDs"
    return [
        Row(
            case="Redis memory of a live reservation",
            figure=plain / count,
            unit="bytes",
            goal=at_most(200),
            detail=told,
        ),
        Row(
            case="Redis memory of a sticky binding",
            figure=(bound - plain) / count,
            unit="bytes",
            goal=at_most(150),
            detail=f"{count:,} leads with names of 17 characters",
        ),
    ]


async def _bytes(url: str, group: GroupDefinition, requests: Sequence[PickRequest]) -> int:
    """What these picks add to a group whose members have been picked before."""
    async with _picking(url, 3) as picking:
        await picking.prepare(group)
        await picking.pick([PickRequest()] * len(group.members))
        before = await picking.used()
        await picking.pick(requests)
        return await picking.used() - before


@asynccontextmanager
async def _picking(url: str, number: int) -> AsyncIterator[Picking]:
    async with connect(f"{url}/{number}", timeout_seconds=30) as redis:
        await redis.flushdb()
        picking = Picking(redis)
        try:
            yield picking
        finally:
            await picking.close()
            await redis.flushdb()


def _group(size: int) -> GroupDefinition:
    members = tuple(
        MemberDefinition(caller, f"+8490{caller:07d}", f"Sales {caller}", "viettel", "active", "trunk-hcm-1", 10**9, 1)
        for caller in range(1, size + 1)
    )
    created = datetime(2026, 5, 20, 3, tzinfo=UTC)
    return GroupDefinition(
        GROUP, "Sales HCM", None, "least_used", False, "active", created, "Asia/Ho_Chi_Minh", DEFAULT_POLICY, members
    )
