"""One customer whose groups are picked from, on a database of the tests' own: definitions, facts and a clock."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from redis.asyncio import Redis

from histories import flagged, moment
from integration.private_redis import private_redis
from pick_groups import GROUP
from rotary.definitions import CustomerDefinition, GroupDefinition
from rotary.domain.facts import DAY_MS
from rotary.domain.rotation.outcomes import NothingEligible, Outcome, Picked, PickRequest
from rotary.events import CallPlaced, CallPlacedData, CooldownCleared, CooldownClearedData, Event, FlagKind
from rotary.redis import keys
from rotary.redis.definition_writer import DefinitionWriter
from rotary.redis.documents import part_of
from rotary.redis.fold import Span, batches_of, fold
from rotary.redis.picks import Picks, open_picks
from rotary.redis.pipeline import Pipeline
from rotary.redis.positions import Positions

CUSTOMER = 7
BUCKET = keys.bucket_of(CUSTOMER)
LOG = "calls.0"
NOON_MS = 5 * 3_600_000


class PicksWorld:
    """An engine, and what happens around it. `now_ms` is Redis' clock as the engine sees it, moved by `wait`."""

    def __init__(self, client: Redis) -> None:
        self.client = client
        self.pipeline = Pipeline(client)
        self.positions = Positions(self.pipeline)
        self.offset_ms = 0
        self.complete_ms = 0
        self.is_behind = False
        self.end = 0
        self.version = count(1)
        self.events = count(1)
        self.engines = [Picks(self.pipeline)]

    @property
    def engine(self) -> Picks:
        return self.engines[0]

    def another(self) -> Picks:
        """One more engine, that knows nothing yet."""
        self.engines.append(Picks(self.pipeline, offset_ms=self.offset_ms))
        return self.engines[-1]

    async def close(self) -> None:
        for engine in self.engines:
            await engine.close()
        await self.pipeline.close()

    async def now_ms(self) -> int:
        return await self.positions.now_ms() + self.offset_ms

    async def wait(self, milliseconds: int) -> None:
        """Time passes for picks; the facts are complete up to then."""
        self.offset_ms += milliseconds
        for engine in self.engines:
            engine._offset_ms = engine.plans._offset_ms = self.offset_ms  # noqa: SLF001
        await self.advance()

    async def wait_for_noon(self) -> None:
        """Goes on to 05:00 UTC, which is noon where the customer is: for what a midnight in between would change."""
        await self.wait((NOON_MS - await self.now_ms()) % DAY_MS)

    async def advance(self, lag_ms: int = 0) -> None:
        """Everything published up to now, or `lag_ms` ago, is folded."""
        self.is_behind = lag_ms > 0
        at = await self.positions.now_ms() - lag_ms
        self.complete_ms = at + self.offset_ms
        reached = [self.end or None] * keys.BUCKETS
        failed = await self.positions.advance(LOG, self.end, at, [LOG], reached, reached)
        assert not failed.replaced

    async def define(self, *groups: GroupDefinition) -> None:
        """The customer's definitions, as the projector writes them."""
        part = part_of(CUSTOMER)
        writes = DefinitionWriter(self.client).round(f"{next(self.version):040x}")
        await writes.begin([part])
        callers = sorted({one.id for some in groups for one in some.members})
        await writes.put_customer(CustomerDefinition(CUSTOMER, groups[0].policy, list(groups), callers))
        await writes.flush()
        assert not writes.refused
        await self.client.hset(part, "complete", "1")

    async def fold(self, *events: Event) -> None:
        """Folds events and advances."""
        span = Span(LOG, self.end or None, self.end + 1, await self.positions.now_ms(), self.end or None)
        self.end += 1
        await fold(self.pipeline, {BUCKET: batches_of((CUSTOMER, event) for event in events)}, {BUCKET: span}, LOG)
        await self.advance()

    async def call(self, caller: int, pick_id: str | None = None, at_ms: int | None = None, number: int = 1) -> None:
        """Calls that were placed."""
        at = moment(await self.now_ms() if at_ms is None else at_ms)
        data = CallPlacedData(caller_id_id=caller, pick_id=pick_id)
        await self.fold(
            *(
                CallPlaced(specversion="1.0", id=f"c{next(self.events)}", source="/d", time=at, data=data)
                for _ in range(number)
            )
        )

    async def calls(self, callers: Sequence[int]) -> None:
        """A call of each of these, just now."""
        at = moment(await self.now_ms())
        await self.fold(
            *(
                CallPlaced(
                    specversion="1.0", id=f"c{next(self.events)}", source="/d", time=at, data=CallPlacedData(caller)
                )
                for caller in callers
            )
        )

    async def flag(self, caller: int, kind: FlagKind = "blocked") -> None:
        await self.fold(flagged(f"f{next(self.events)}", kind, await self.now_ms(), caller))

    async def clear(self, caller: int) -> None:
        data = CooldownClearedData(caller_id_id=caller)
        time = moment(await self.now_ms() + 1)
        await self.fold(
            CooldownCleared(specversion="1.0", id=f"k{next(self.events)}", source="/a", time=time, data=data)
        )

    async def outcomes(self, number: int = 1, engine: Picks | None = None, **asked: Any) -> list[Outcome]:
        """Picks of one request."""
        return await (engine or self.engine).pick(CUSTOMER, GROUP, [PickRequest(**asked)] * number)

    async def pick(self, engine: Picks | None = None, **asked: Any) -> Picked:
        """One pick, which must be there."""
        [found] = await self.outcomes(engine=engine, **asked)
        assert isinstance(found, Picked), found
        return found

    async def callers(self, number: int, **asked: Any) -> list[int]:
        """The caller IDs of so many picks, one after the other."""
        found = await self.outcomes(number, **asked)
        assert all(isinstance(one, Picked) for one in found), found
        return [one.caller_id_id for one in found if isinstance(one, Picked)]

    async def refusal(self, **asked: Any) -> NothingEligible:
        """One pick, which must be refused."""
        [found] = await self.outcomes(**asked)
        assert isinstance(found, NothingEligible), found
        return found


@asynccontextmanager
async def picks_world(redis_url: str) -> AsyncIterator[PicksWorld]:
    """An empty database, opened for picks, with facts that are complete up to now."""
    async with private_redis(redis_url) as client:
        world = PicksWorld(client)
        await open_picks(client)
        await world.advance()
        keeping = asyncio.create_task(_keep_current(world))
        try:
            yield world
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await world.close()


async def _keep_current(world: PicksWorld) -> None:
    while True:
        await asyncio.sleep(0.5)
        if not world.is_behind:
            await world.advance()
