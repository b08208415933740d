"""The projector copies definitions from Postgres to Redis as they change, and writes again what Redis lost.

One consumer projects at a time, by an advisory lock that ends with its connection. Correctness does not depend on it:
each write carries the version of its Postgres snapshot, and Redis refuses a write that is older than what it would
replace. Every wake-up reads the change feed until it is empty, so a lost NOTIFY delays a change by one poll at most.

Postgres records the version that each part of Redis was brought to. A part that shows another version, or is
incomplete, is written again; all others need only the changes, also after a consumer starts.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence

import structlog
from msgspec import Struct, field

from rotary.errors import UnavailableError
from rotary.postgres import store
from rotary.postgres.connection import Connection, connect
from rotary.postgres.store import Change
from rotary.redis import keys
from rotary.redis.definition_writer import CALLERS_AT_ONCE, DefinitionWriter, Round
from rotary.redis.documents import PARTS, part_of
from rotary.runtime.backoff import Backoff
from rotary_consumer import metrics
from rotary_consumer.definitions_watch import DefinitionsWatch

_log = structlog.get_logger(__name__)

POLL_SECONDS = 1.0
_ALL = frozenset(PARTS)
_PLANS = "force_custom_plan"
"""PostgreSQL would keep a plan that was made while tables were small. By such a plan, 400 imported groups of 50 members
took 17 s to read instead of 0.1 s, and every other definition waited for them."""


class DatabaseWentBackError(UnavailableError):
    """Redis holds definitions from a later state of the database than the present one."""

    def __init__(self) -> None:
        super().__init__(
            "PostgreSQL is older than the definitions in Redis; if it was restored, run rotary-admin definitions resync"
        )


class CustomerChange(Struct):
    """What to write again of a customer."""

    is_whole: bool = False
    """All groups, whatever `groups` holds."""
    groups: set[int] = field(default_factory=set)
    caller_ids: set[int] = field(default_factory=set)


class Plan(Struct):
    """What a list of changes requires."""

    customers: dict[int, CustomerChange] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)

    @property
    def parts(self) -> set[str]:
        """The parts to write to."""
        tokens = {keys.TOKEN_DEFINITIONS} if self.tokens else set[str]()
        return {part_of(customer) for customer in self.customers} | tokens


def plan(changes: Sequence[Change]) -> Plan:
    """Merges changes, so that each document is written once. The caller handles "everything"."""
    merged = Plan()
    for change in changes:
        match change:
            case Change(entity="token", key=str(sha256)):
                merged.tokens.add(sha256)
            case Change(entity="customer", customer_id=int(customer)):
                merged.customers.setdefault(customer, CustomerChange()).is_whole = True
            case Change(entity="group", customer_id=int(customer), key=int(group)):
                merged.customers.setdefault(customer, CustomerChange()).groups.add(group)
            case Change(entity="caller_ids", customer_id=int(customer), key=tuple(callers)):
                merged.customers.setdefault(customer, CustomerChange()).caller_ids.update(callers)
    return merged


class Projector:
    """Runs in every consumer: one projects, and each watches whether Redis goes back (`watch`)."""

    def __init__(self, url: str, writer: DefinitionWriter) -> None:
        self._url = url
        self._writer = writer
        self.watch = DefinitionsWatch(writer)
        """Runs in a task of its own."""
        self._changed = asyncio.Event()
        self._versions: dict[str, str] = {}
        self._lost: set[str] = set()
        self._touch_at = 0.0

    async def run(self) -> None:
        """Projects while it holds the lock, until cancelled."""
        backoff = Backoff()
        while True:
            try:
                connection = await connect(self._url, plan_cache_mode=_PLANS)
                backoff.reset()
                try:
                    await self._lead(connection)
                finally:
                    connection.terminate()
            except UnavailableError as error:
                await backoff.wait(f"projecting definitions: {error.what}")

    async def _lead(self, connection: Connection) -> None:
        while not await store.try_lead(connection):  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)  # the lock ends with its holder's connection, without notice
        # Listen, then read: a change in between causes one wake-up too many, never one too few.
        await store.listen(connection, self._changed.set)
        self._versions = await store.read_projected(connection)
        self._lost, self._touch_at = set(), 0.0
        _log.info("projecting definitions")
        backoff = Backoff(max_seconds=POLL_SECONDS)
        while True:
            self._changed.clear()
            try:
                await self.step(connection)
            except UnavailableError as error:
                if connection.is_closed():
                    raise
                await backoff.wait(f"projecting definitions: {error.what}")
                continue
            backoff.reset()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), POLL_SECONDS)

    async def step(self, connection: Connection) -> None:
        """Writes again what was lost, then what changed, until nothing is left."""
        if (now := asyncio.get_running_loop().time()) >= self._touch_at:
            self._lost |= await self._writer.touch({part: self._versions.get(part, "") for part in PARTS})
            self._touch_at = now + POLL_SECONDS
        while True:
            if self._lost:
                await self._resync(connection, frozenset(self._lost))
            elif changes := await store.read_changes(connection):
                await self._apply(connection, changes)
            else:
                return

    async def _apply(self, connection: Connection, changes: Sequence[Change]) -> None:
        """Writes what these changes name. They stay in the feed until Redis has all of it."""
        ids = [change.id for change in changes]
        if any(change.entity == "everything" for change in changes):
            lost = _ALL
            while lost:
                lost = await self._resync(connection, lost)
            await store.record_projected(connection, {}, ids)
            return
        wanted = plan(changes)
        async with store.snapshot(connection):
            writing = self._writer.round(await store.read_version(connection))
            await writing.begin(wanted.parts)
            for customer, change in wanted.customers.items():
                await _write_change(connection, writing, customer, change)
            if wanted.tokens:
                found = await store.read_tokens(connection, list(wanted.tokens))
                await writing.put_tokens(found, wanted.tokens - found.keys())
        finished = await writing.finish_changes(self._versions)
        await self._record(connection, writing, finished, ids if finished == wanted.parts else ())

    async def _resync(self, connection: Connection, parts: frozenset[str]) -> frozenset[str]:
        """Writes these parts again and removes what is not in Postgres; returns the parts that need another resync."""
        newest = max([*(await self._writer.close_older(self.watch.seen)).values(), *self.watch.seen.values()])
        async with store.snapshot(connection):
            version = await store.read_version(connection)
            # Redis cannot hold anything newer than our snapshot, unless the database went back.
            if version < newest:
                raise DatabaseWentBackError
            writing = self._writer.round(version)
            await writing.begin(parts)
            await writing.flush()
            sizes = await self._write_customers(connection, writing, parts)
            if keys.TOKEN_DEFINITIONS in parts:
                sizes[keys.TOKEN_DEFINITIONS] = await self._write_tokens(connection, writing)
        finished = await writing.finish_resync(sizes)
        await self._record(connection, writing, finished)
        _log.info("definitions resynced", finished=len(finished), parts=len(parts))
        return parts - finished

    async def _write_customers(self, connection: Connection, writing: Round, parts: frozenset[str]) -> Counter[str]:
        """Returns the number of customers in each part."""
        stored = await self._writer.customers(parts)
        wanted = [customer for customer in await store.customer_ids(connection) if part_of(customer) in parts]
        async with contextlib.aclosing(store.stream_customers(connection, wanted)) as customers:
            async for customer in customers:
                await writing.put_customer(customer)
                metrics.DOCUMENTS.inc(len(customer.groups))
                if writing.refused >= parts:
                    break  # Redis lost the whole round
        for gone in stored.difference(wanted):
            await writing.remove_customer(gone)
        return Counter(part_of(customer) for customer in wanted)

    async def _write_tokens(self, connection: Connection, writing: Round) -> int:
        stored = await self._writer.tokens()
        tokens = await store.read_tokens(connection)
        await writing.put_tokens(tokens, stored - tokens.keys())
        return len(tokens)

    async def _record(
        self, connection: Connection, writing: Round, finished: set[str], ids: Sequence[int] = ()
    ) -> None:
        """Records the finished parts. The others lost data or are newer than our snapshot: they are resynced."""
        versions = dict.fromkeys(finished, writing.version)
        for part in finished:
            self.watch.saw(part, writing.version)
        self._lost = (self._lost | writing.parts) - finished
        await store.record_projected(connection, versions, ids)
        self._versions |= versions


async def _write_change(connection: Connection, writing: Round, customer: int, change: CustomerChange) -> None:
    policy = await store.read_policy(connection, customer)
    if policy is None:
        await writing.remove_customer(customer)
        return
    allowance = policy.unknown_caller_ids_per_day
    if change.is_whole or change.groups:
        groups = await store.read_groups(connection, customer, None if change.is_whole else list(change.groups))
        summaries = await store.read_group_summaries(connection, customer)
        metrics.DOCUMENTS.inc(len(groups))
        await writing.change_customer(customer, allowance, summaries, groups, (), ())
    ids = sorted(change.caller_ids)
    for start in range(0, len(ids), CALLERS_AT_ONCE):
        some = ids[start : start + CALLERS_AT_ONCE]
        there = await store.read_caller_ids(connection, customer, some)
        await writing.change_customer(customer, allowance, None, [], there, sorted({*some}.difference(there)))
