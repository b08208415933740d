"""The roll-up as it runs: when a customer is due, and what it keeps waiting."""

import asyncio

import pytest

from histories import HOUR, MINUTE, placed
from integration.consuming import Installation, meanwhile, metric, now_ms
from integration.history_world import (
    CUSTOMER,
    SECONDS,
    ZONE,
    of_known_days,
    published,
    rolled_up,
)
from integration.past import define, recorded
from integration.tcp_proxy import TcpProxy
from rotary.domain import history as domain
from rotary.domain.history import day_of
from rotary.domain.quota import local_date
from rotary.events import Event
from rotary.postgres.connection import Connection
from rotary.postgres.history import Customer
from rotary.redis.past import PastReader
from rotary_consumer.history import rollup
from rotary_consumer.history.sweep import sweep
from running import until


async def test_a_day_is_rolled_up_soon_after_midnight(historic: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that stands just before it."""
    monkeypatch.setattr(domain, "SWEEPS_MS", (1_000, HOUR))
    today = day_of(ZONE, local_date(ZONE, now_ms()))
    offset_ms = today.end_ms - now_ms() - 8_000
    async with historic.consumer(clock_offset=str(offset_ms / 1000)):
        await published(historic, [placed("1", today.end_ms - HOUR), placed("2", today.end_ms - MINUTE)])
        await historic.caught_up()
        assert now_ms() + offset_ms < today.end_ms, "midnight passed before the calls were folded"
        assert (18, today.date) not in await recorded(historic.postgres, CUSTOMER)

        async def is_rolled_up() -> bool:
            found = (await recorded(historic.postgres, CUSTOMER)).get((18, today.date))
            return found is not None and found.calls == 2

        await until(is_rolled_up, SECONDS, "the day is rolled up")
        assert now_ms() + offset_ms > today.end_ms


async def test_postgres_may_be_away_while_events_are_folded(historic: Installation, busy: list[Event]) -> None:
    """Its connections are ended again and again, also in the middle of a sweep."""

    async def end_connections() -> None:
        await historic.postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await asyncio.sleep(0.3)

    async with historic.consumer():
        await historic.caught_up()
        async with meanwhile(end_connections):
            await published(historic, busy)
            await historic.caught_up()
        await rolled_up(historic, of_known_days(busy))


async def test_a_failure_of_one_customer_keeps_no_other_waiting(
    historic: Installation, busy: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    await define(historic.postgres, 6, [1])
    failures = metric("rotary_history_failures_total")

    async def fail(connection: Connection, reader: PastReader, customer: Customer) -> int:
        if customer.id == 6:
            raise ZeroDivisionError
        return await sweep(connection, reader, customer)

    monkeypatch.setattr(rollup, "sweep", fail)
    async with historic.consumer():
        await published(historic, busy)
        await rolled_up(historic, of_known_days(busy))
        assert metric("rotary_history_failures_total") > failures
        assert metric("rotary_history_oldest_due_seconds") > 0


async def test_a_day_that_waits_is_told_of_while_postgres_is_away(
    historic: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domain, "SWEEPS_MS", (1_000, HOUR))
    async with TcpProxy(historic.servers.postgres_url) as proxy:
        today = day_of(ZONE, local_date(ZONE, now_ms()))
        offset_ms = today.end_ms - now_ms() - 12_000
        async with historic.consumer(clock_offset=str(offset_ms / 1000), postgres_url=proxy.url):
            await historic.caught_up()

            async def is_swept() -> bool:
                return bool(await historic.postgres.fetchval("SELECT swept_ms FROM history_sweeps"))

            await until(is_swept, SECONDS, "the days before are rolled up")
            await proxy.cut()

            async def is_told() -> bool:
                return 0.5 < metric("rotary_history_oldest_due_seconds") < HOUR / 1000

            await until(is_told, SECONDS, "midnight has passed, and nobody rolls up")
            await proxy.mend()

            async def is_over() -> bool:
                return metric("rotary_history_oldest_due_seconds") == 0

            await until(is_over, SECONDS, "the day is rolled up")


async def test_what_thousands_of_due_customers_cost_does_not_grow_with_their_square(
    historic: Installation, busy: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor do they keep the fold or a stop waiting."""
    customers, computed = 5_000, list[str]()

    def counted(timezone: str, at_ms: int) -> int:
        computed.append(timezone)
        return domain.due_ms(timezone, at_ms)

    async def sweeping_has_begun() -> bool:
        return bool(computed)

    monkeypatch.setattr(rollup, "due_ms", counted)
    await historic.postgres.execute(
        "INSERT INTO customers (id, name, timezone) SELECT id, 'Sales', $1 FROM generate_series(1001, 1000 + $2) AS id",
        ZONE,
        customers,
    )
    async with asyncio.timeout(2 * SECONDS):
        async with historic.consumer():
            await published(historic, busy)
            await until(sweeping_has_begun, SECONDS, "the due customers are known")
            await historic.caught_up()
    assert 0 < len(computed) < customers, "it is the same for all customers of a zone"
