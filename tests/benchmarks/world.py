"""A customer with groups in Postgres, facts in Redis, and the real programs that serve them."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from secrets import token_hex

import aiohttp
import asyncpg
from msgspec import Struct
from redis.asyncio import Redis

from benchmarks.facts import Facts
from benchmarks.processes import free_port, module, process, service, until
from benchmarks.run import Run
from benchmarks.stored import calls_stored
from rotary.definitions import SCOPES, Carrier, GroupDefinition, MemberDefinition, summary
from rotary.events import Event
from rotary.policy import DEFAULT_POLICY
from rotary.publisher import EventFactory
from rotary.redis.connection import connect
from written import Documents

MEMBERS = 12
_CARRIERS: tuple[Carrier, ...] = ("viettel", "mobifone", "vinaphone", "vietnamobile", "landline", "other")


class Group(Struct, frozen=True):
    """A group and its members' caller IDs, ascending."""

    id: int
    callers: tuple[int, ...]

    @property
    def path(self) -> str:
        """The group's own path."""
        return f"/api/caller-id-groups/{self.id}"

    @property
    def monitor(self) -> str:
        """The path of its monitor."""
        return f"{self.path}/monitor"

    @property
    def picks(self) -> str:
        """The path of its picks."""
        return f"{self.path}/picks"


class Customer(Struct, frozen=True):
    """A customer with an unlimited token."""

    id: int
    token: str

    @property
    def headers(self) -> dict[str, str]:
        """What a request of this customer's carries."""
        return {"Authorization": f"Bearer {self.token}"}


class World:
    """A running consumer and query service, and what else is needed to fill what they serve."""

    def __init__(self, run: Run, postgres: asyncpg.Connection, redis: Redis, base: str, ops: str) -> None:
        self.run = run
        self.postgres = postgres
        self.redis = redis
        self.base = base
        self.ops = ops
        self._facts = Facts(redis)
        self._source = EventFactory("/benchmark")
        self._number = 0

    async def close(self) -> None:
        """Closes the connection over which facts are placed."""
        await self._facts.close()

    async def customer(self) -> Customer:
        """A new one; returns when the projector has made its documents."""
        token = f"rot_{token_hex(16)}"
        sha256 = hashlib.sha256(token.encode()).digest()
        async with self.postgres.transaction():
            number = await self.postgres.fetchval("INSERT INTO customers (name) VALUES ('Benchmark') RETURNING id")
            await self.postgres.execute(
                "INSERT INTO api_tokens (customer_id, name, token_sha256, scopes, rate_limit_per_minute)"
                " VALUES ($1, 'benchmark', $2, $3, NULL)",
                number,
                sha256,
                [*SCOPES],
            )
        made = Customer(number, token)
        await until(lambda: self._serves(made, "/api/caller-id-groups"), "the token is known")
        return made

    async def group(self, customer: Customer, members: int = MEMBERS, daily_cap: int = 200) -> Group:
        """A new group, as an admin would write it; returns when it is served."""
        async with self.postgres.transaction():
            group = await self.postgres.fetchval(
                "INSERT INTO caller_id_groups (customer_id, name, description, rotation_strategy)"
                " VALUES ($1, 'Sales HCM', 'Outbound, Ho Chi Minh City', 'cap_based') RETURNING id",
                customer.id,
            )
            rows = await self.postgres.fetch(
                "INSERT INTO caller_ids (customer_id, number, display_name, carrier, trunk_name, daily_cap)"
                " SELECT $1, '+8490' || ($2::bigint + n), 'Sales ' || n, ($3::text[])[1 + n % 6], 'trunk-hcm-1', $5"
                " FROM generate_series(1, $4::int) AS n RETURNING id",
                customer.id,
                10_000_000 + self._number,
                list(_CARRIERS),
                members,
                daily_cap,
            )
            self._number += members
            callers = tuple(sorted(row[0] for row in rows))
            await self.postgres.execute(
                "INSERT INTO caller_id_group_members (group_id, caller_id_id) SELECT $1, unnest($2::bigint[])",
                group,
                callers,
            )
        made = Group(group, callers)
        await until(lambda: self._serves(customer, made.monitor), "the group is served")
        return made

    async def cold_groups(self, customer: Customer, count: int) -> list[Group]:
        """Many groups of a customer that has no others, written as the projector would write them."""
        first = 10**12 + customer.id * 10**9
        groups = [
            Group(first + at, tuple(first + at * MEMBERS + member for member in range(MEMBERS))) for at in range(count)
        ]
        definitions = [_definition(group) for group in groups]
        summaries = [summary(definition) for definition in definitions]
        await Documents(self.redis).put_groups(customer.id, definitions, summaries)
        for at in range(0, count, 100):
            await self.place(customer, [caller for group in groups[at : at + 100] for caller in group.callers], 3)
        return groups

    async def place(self, customer: Customer, callers: Sequence[int], calls: int) -> None:
        """So many calls of each caller ID, spread over the last hours, straight into Redis."""
        now = datetime.now(UTC)
        times = [now - timedelta(minutes=7 * number) for number in range(calls)]
        await self.fold(customer, [self._source.call_placed(caller, time=time) for caller in callers for time in times])

    async def flag(self, customer: Customer, caller: int) -> None:
        """A spam label, just now: the caller ID rests."""
        await self.fold(customer, [self._source.carrier_flag(caller, "spam_label")])

    async def fold(self, customer: Customer, events: Sequence[Event]) -> None:
        """Straight into Redis."""
        for at in range(0, len(events), 2_000):
            await self._facts.fold(customer.id, events[at : at + 2_000])

    async def body(self, customer: Customer, path: str) -> bytes:
        """What the API answers."""
        return (await self.answer(customer, path))[0]

    async def answer(self, customer: Customer, path: str) -> tuple[bytes, str]:
        """What the API answers, and its ETag."""
        return await fetch(customer, self.base + path)

    async def _serves(self, customer: Customer, path: str) -> bool:
        async with aiohttp.ClientSession(headers=customer.headers) as session, session.get(self.base + path) as answer:
            return answer.status == 200

    @asynccontextmanager
    async def dialled(
        self, customer: Customer, callers: Sequence[int], rate: float, where: frozenset[int]
    ) -> AsyncIterator[None]:
        """The block runs while calls are placed at `rate` a second, through the broker, by the SDK's own simulator."""
        before = await self._calls(customer, callers)
        argv = module("rotary_dialer", "simulate", "--customer", str(customer.id), "--rate", str(rate))
        ids = ",".join(map(str, callers))
        async with process(where, *argv, "--seconds", "600", "--caller-ids", ids, environ=self._settings) as dialer:

            async def is_folding() -> bool:
                assert dialer.returncode is None
                return await self._calls(customer, callers) > before

            await until(is_folding, "the calls are folded")
            await asyncio.sleep(0.2)
            began, before = time.monotonic(), await self._calls(customer, callers)
            yield
            folded = (await self._calls(customer, callers) - before) / (time.monotonic() - began)
            if folded < 0.95 * rate - 1:
                raise RuntimeError(f"only {folded:,.0f} of {rate:,.0f} events/s were folded meanwhile")

    @property
    def _settings(self) -> dict[str, str]:
        return self.run.servers.settings()

    async def _calls(self, customer: Customer, callers: Sequence[int]) -> int:
        return await calls_stored(self.redis, customer.id, callers)


async def fetch(customer: Customer, url: str) -> tuple[bytes, str]:
    """What anybody's API answers this customer, and its ETag if it has one."""
    async with aiohttp.ClientSession(headers=customer.headers) as session, session.get(url) as answer:
        if answer.status != 200:
            raise RuntimeError(f"{url}: {answer.status} {await answer.text()}")
        return await answer.read(), answer.headers.get("ETag", "")


def _definition(group: Group) -> GroupDefinition:
    members = tuple(
        MemberDefinition(
            caller, f"+8490{caller % 10**7:07d}", "Sales", _CARRIERS[caller % 6], "active", "trunk-hcm-1", 200, 1
        )
        for caller in group.callers
    )
    created = datetime(2026, 5, 20, 3, tzinfo=UTC)
    return GroupDefinition(
        group.id, "Sales HCM", None, "cap_based", False, "active", created, "Asia/Ho_Chi_Minh", DEFAULT_POLICY, members
    )


@asynccontextmanager
async def open_world(run: Run, query: frozenset[int], others: frozenset[int]) -> AsyncIterator[World]:
    """One consumer on the cores `others`, one query service on `query`. Its customers are gone afterwards."""
    settings = run.servers.settings()
    async with (
        service(others, "rotary_consumer", settings),
        query_service(run, query) as (base, ops),
        connect(run.servers.redis) as redis,
    ):
        postgres = await asyncpg.connect(run.servers.postgres)
        world = World(run, postgres, redis, base, ops)
        try:
            yield world
        finally:
            await world.close()
            await postgres.execute("DELETE FROM customers WHERE name = 'Benchmark'")
            await postgres.close()


@asynccontextmanager
async def query_service(run: Run, where: frozenset[int], **settings: str) -> AsyncIterator[tuple[str, str]]:
    """A query service with these ROTARY_ settings; its URL and its ops URL."""
    bind = f"127.0.0.1:{free_port()}"
    told = {f"ROTARY_{name.upper()}": value for name, value in settings.items()}
    environ = {**run.servers.settings(), **told, "ROTARY_QUERY_BIND": bind}
    async with service(where, "rotary_query", environ) as (_, ops):
        yield f"http://{bind}", ops
