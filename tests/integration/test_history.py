"""History on real servers: whatever happens to Redis, Postgres and the consumers, the same days have the same rows."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
import pytest_asyncio

from histories import DAY, HOUR, MINUTE, cleared, flagged, placed
from integration.consuming import Installation, meanwhile, metric, now_ms
from integration.past import Rows, busy_days, define, figured, recorded, stored_bytes
from integration.private_database import opened
from integration.tcp_proxy import TcpProxy
from rotary.domain import history as domain
from rotary.domain.history import HISTORY_DAYS, Day, Figures, day_of
from rotary.domain.quota import local_date
from rotary.events import Event
from rotary.postgres import history
from rotary.postgres import logs as records
from rotary.postgres.connection import Connection
from rotary.postgres.history import Customer
from rotary.redis import keys
from rotary.redis.observation import NotCurrentError
from rotary.redis.past import PastReader
from rotary_consumer.history import late, rollup
from rotary_consumer.history import sweep as sweeping
from rotary_consumer.history.sweep import sweep
from running import until

CUSTOMER = 7
ZONE = "Asia/Kolkata"
CALLERS = range(18, 48)
SECONDS = 30


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Consumers look more often than they need to, in smaller steps."""
    monkeypatch.setattr(rollup, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(rollup, "LATE_SECONDS", 0.1)
    monkeypatch.setattr(rollup, "LATE_SHARE", 0)
    monkeypatch.setattr(late, "FLUSH_SECONDS", 0.1)
    monkeypatch.setattr(sweeping, "CALLERS_AT_ONCE", 7)


@pytest_asyncio.fixture
async def defined(installed: Installation) -> Installation:
    await define(installed.postgres, CUSTOMER, CALLERS, ZONE)
    return installed


@pytest.fixture
def events() -> list[Event]:
    return busy_days(now_ms(), CALLERS)


def last_days(count: int, zone: str = ZONE) -> list[Day]:
    """The last finished days, ascending."""
    today = local_date(zone, now_ms())
    return [day_of(zone, today - timedelta(days=ago)) for ago in range(count, 0, -1)]


async def published(installed: Installation, events: Sequence[Event]) -> None:
    await installed.caught_up()
    for kind in {type(event) for event in events}:
        await installed.publish(CUSTOMER, *(one for one in events if type(one) is kind), batched=True)


async def rolled_up(installed: Installation, expected: Rows) -> None:
    """Returns once exactly these rows are on record, of days that are complete."""

    async def is_so() -> bool:
        days = await history.read_days(installed.postgres, CUSTOMER)
        complete = {one.day.date for one in days if all(one.knew)}
        rows = await recorded(installed.postgres, CUSTOMER)
        return {key[1] for key in expected} <= complete and rows == expected

    try:
        await until(is_so, SECONDS, "the days are rolled up")
    except AssertionError:
        assert await recorded(installed.postgres, CUSTOMER) == expected
        raise


async def swept(installed: Installation, zone: str = ZONE, offset_ms: int = 0) -> None:
    """One sweep, from this process, on a connection of its own."""
    async with opened(installed.servers.postgres_url) as connection:
        await sweep(connection, PastReader(installed.redis, offset_ms), Customer(CUSTOMER, zone, None))


def of_known_days(events: Sequence[Event], zone: str = ZONE) -> Rows:
    """The rows of the days that a first roll-up finds: as far back as counters are kept."""
    return figured(events, last_days(6, zone), CALLERS)


async def test_rows_are_the_pure_figures_of_the_events(defined: Installation, events: list[Event]) -> None:
    async with defined.consumer():
        await published(defined, events)
        await rolled_up(defined, of_known_days(events))
    assert metric("rotary_history_failures_total") == 0


async def test_an_emptied_redis_gives_the_same_rows(defined: Installation, events: list[Event]) -> None:
    async with defined.consumer():
        await published(defined, events)
        await rolled_up(defined, of_known_days(events))
        before = await stored_bytes(defined.postgres)
        await defined.redis.flushdb()
        await defined.caught_up()
        await swept_beside(defined)
        assert await stored_bytes(defined.postgres) == before


async def test_rows_that_were_lost_are_written_again(defined: Installation, events: list[Event]) -> None:
    async with defined.consumer():
        await published(defined, events)
        await rolled_up(defined, of_known_days(events))
        before = await stored_bytes(defined.postgres)
        await defined.postgres.execute("TRUNCATE customer_days, caller_id_days, history_sweeps")
        await rolled_up(defined, of_known_days(events))
        assert await stored_bytes(defined.postgres) == before


async def test_two_consumers_at_once_write_what_one_writes(defined: Installation, events: list[Event]) -> None:
    async with defined.consumer(), defined.consumer():
        await published(defined, events[::2])
        await defined.caught_up()
        sweeps = [asyncio.create_task(swept_beside(defined, 3)) for _ in range(3)]
        await published(defined, events[1::2])
        await asyncio.gather(*sweeps)
        await rolled_up(defined, of_known_days(events))


async def swept_beside(installed: Installation, times: int = 1) -> None:
    """Complete sweeps as of a consumer without a lock: whatever the others do."""
    while times:
        try:
            await swept(installed)
            times -= 1
        except (sweeping.OvertakenError, NotCurrentError):
            await asyncio.sleep(0.05)


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Consumers fold and roll nothing up: the test does."""

    async def step(_rollup: rollup.HistoryRollup, _connection: Connection) -> None:
        """Nothing."""

    monkeypatch.setattr(rollup.HistoryRollup, "step", step)


async def test_a_crash_in_the_middle_changes_no_row(
    idle: None, defined: Installation, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with defined.consumer():
        await published(defined, events)
        await defined.caught_up()
        for batches in range(2):
            with monkeypatch.context() as patched:
                patched.setattr(history, "write_figures", failing_after(batches))
                with pytest.raises(ZeroDivisionError):
                    await swept(defined)
            assert not any(any(one.knew) for one in await history.read_days(defined.postgres, CUSTOMER))
        assert await recorded(defined.postgres, CUSTOMER)
        await swept(defined)
        assert await recorded(defined.postgres, CUSTOMER) == of_known_days(events)


def failing_after(batches: int) -> object:
    write, left = history.write_figures, [batches]

    async def fail(*arguments: object) -> int | None:
        left[0] -= 1
        if left[0] < 0:
            raise ZeroDivisionError
        return await write(*arguments)  # type: ignore[arg-type]

    return fail


async def test_figures_from_older_facts_never_replace_newer_ones(defined: Installation) -> None:
    yesterday = last_days(1)[0].date
    newer, older = ({(18, yesterday): Figures(calls, (0, 0, 0, 0), 0, 100)} for calls in (2, 1))
    await history.begin_sweep(defined.postgres, CUSTOMER, last_days(1))
    assert await history.write_figures(defined.postgres, CUSTOMER, 1_000, newer, []) == 1
    assert await history.write_figures(defined.postgres, CUSTOMER, 999, older, [(18, yesterday)]) is None
    assert await recorded(defined.postgres, CUSTOMER) == newer


# Facts that may not be believed


async def test_history_waits_for_facts_that_are_behind(idle: None, defined: Installation, events: list[Event]) -> None:
    async with defined.consumer():
        await published(defined, events)
        await defined.caught_up()
        await swept(defined)
        before = await stored_bytes(defined.postgres)

    async def is_behind() -> bool:
        return not (await defined.bucket_statuses())[0].age_ms(await defined.redis_now_ms()) <= 2_000

    await until(is_behind, SECONDS, "the facts are behind")
    with pytest.raises(NotCurrentError, match="behind the log"):
        await swept(defined)
    await defined.redis.flushdb()
    with pytest.raises(NotCurrentError, match="being rebuilt"):
        await swept(defined)
    assert await stored_bytes(defined.postgres) == before


async def test_facts_that_are_lost_during_a_sweep_end_it(
    idle: None, defined: Installation, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = history.write_figures

    async def lose(*arguments: object) -> int | None:
        """Redis is emptied after the first batch, and what the logs had before just now is gone."""
        written = await write(*arguments)  # type: ignore[arg-type]
        now = await defined.redis_now_ms()
        await defined.redis.hset(keys.position(keys.bucket_of(CUSTOMER)), "calls.0^", str(now))
        return written

    async with defined.consumer():
        await published(defined, events)
        await defined.caught_up()
        monkeypatch.setattr(history, "write_figures", lose)
        with pytest.raises(NotCurrentError, match="lost"):
            await swept(defined)
        assert not any(any(one.knew) for one in await history.read_days(defined.postgres, CUSTOMER))


async def test_what_the_logs_no_longer_have_leaves_what_is_on_record(
    idle: None, defined: Installation, events: list[Event]
) -> None:
    """Redis is emptied, and the logs begin with today: the facts are less than they were."""
    position = keys.position(keys.bucket_of(CUSTOMER))
    async with defined.consumer():
        await published(defined, events)
        await defined.caught_up()
        await swept(defined)
        before = await stored_bytes(defined.postgres)
        now = str(await defined.redis_now_ms())
        await defined.redis.hset(position, mapping={"calls.0^": now, "flags.0^": now})
        facts = [key async for key in defined.redis.scan_iter("*:calls:*")]
        facts += [key async for key in defined.redis.scan_iter("*:flags:*")]
        await defined.redis.delete(*facts)
        await swept(defined)
        assert await stored_bytes(defined.postgres) == before
        await defined.postgres.execute("TRUNCATE customer_days, caller_id_days, history_sweeps")
        await swept(defined)
        assert await stored_bytes(defined.postgres) == {"customer_days": [], "caller_id_days": []}


async def test_a_rebuild_does_not_count_what_the_logs_have_lost(idle: None, defined: Installation) -> None:
    """A log was retired and removed: nothing but the record in Postgres knows that it held events."""
    [yesterday] = last_days(1)
    async with defined.consumer():
        await published(defined, [placed("1", yesterday.end_ms - HOUR)])
        await defined.caught_up()
    await records.add_logs(defined.postgres, ["calls.7"], "draining")
    await records.remove_log(defined.postgres, "calls.7")
    await defined.redis.flushdb()
    async with defined.consumer():
        await defined.caught_up()
        await swept(defined)
        assert await history.read_days(defined.postgres, CUSTOMER) == []
        past = await PastReader(defined.redis).read(CUSTOMER)
        assert past.coverage.calls_from_ms > yesterday.end_ms
        assert past.coverage.flags_from_ms < yesterday.begin_ms


async def test_days_whose_calls_are_gone_have_flags_and_no_calls(
    idle: None, defined: Installation, events: list[Event]
) -> None:
    """The roll-up was down for longer than counters are kept."""
    async with defined.consumer():
        await published(defined, events)
        await defined.caught_up()
        eldest = last_days(20)[0]
        await history.begin_sweep(defined.postgres, CUSTOMER, [eldest])
        await swept(defined)
        days = {one.day.date: one for one in await history.read_days(defined.postgres, CUSTOMER)}
        assert len(days) == 20, "none is left out"
        oldest, newest = days[eldest.date], days[last_days(1)[0].date]
        assert (oldest.knew.calls, oldest.knew.flags, all(newest.knew)) == (False, True, True)
        rows = await recorded(defined.postgres, CUSTOMER)
        full = figured(events, last_days(20), CALLERS)
        for key, row in rows.items():
            if key[1] == eldest.date:
                assert (row.calls, row.health) == (None, None)
                assert (row.flags, row.resting_seconds) == (full[key].flags, full[key].resting_seconds)


# Late events, and the end of them


async def test_late_events_correct_earlier_days(defined: Installation) -> None:
    yesterday, before = reversed(last_days(2))
    early = [placed("1", yesterday.end_ms - HOUR)]
    calls = [placed("2", yesterday.end_ms - 2 * HOUR), placed("3", before.end_ms - HOUR)]
    signs: list[Event] = [flagged("4", "blocked", before.end_ms - HOUR), cleared("5", before.end_ms - MINUTE)]
    async with defined.consumer():
        await published(defined, early)
        await rolled_up(defined, of_known_days(early))
        await published(defined, calls)
        await rolled_up(defined, of_known_days([*early, *calls]))
        await published(defined, signs)
        await rolled_up(defined, of_known_days([*early, *calls, *signs]))


async def test_a_day_that_is_final_never_changes(idle: None, defined: Installation) -> None:
    [yesterday] = last_days(1)
    first, later = placed("1", yesterday.end_ms - HOUR), placed("2", yesterday.end_ms - HOUR)
    async with defined.consumer():
        await published(defined, [first, flagged("3", "blocked", yesterday.end_ms - HOUR)])
        await defined.caught_up()
        await swept(defined)
        states = []
        for days in (0, 3, 31):
            await swept(defined, offset_ms=days * DAY)
            [stored] = [
                one for one in await history.read_days(defined.postgres, CUSTOMER) if one.day.date == yesterday.date
            ]
            states.append((stored.calls_final, stored.final))
        assert states == [(False, False), (True, False), (True, True)]
        before = (await recorded(defined.postgres, CUSTOMER))[18, yesterday.date]
        await published(defined, [later, flagged("4", "blocked", yesterday.end_ms - 2 * HOUR)])
        await defined.caught_up()
        await swept(defined, offset_ms=31 * DAY)
        assert (await recorded(defined.postgres, CUSTOMER))[18, yesterday.date] == before


async def test_days_beyond_the_last_35_are_removed(idle: None, defined: Installation, events: list[Event]) -> None:
    async with defined.consumer():
        await published(defined, events)
        await defined.caught_up()
        await swept(defined)
        assert await recorded(defined.postgres, CUSTOMER)
        await swept(defined, offset_ms=(HISTORY_DAYS + 10) * DAY)
        days = await history.read_days(defined.postgres, CUSTOMER)
        assert len(days) == HISTORY_DAYS
        oldest = min(one.day.date for one in days)
        assert not [key for key in await recorded(defined.postgres, CUSTOMER) if key[1] < oldest]


# What a customer changes


async def test_a_day_keeps_the_zone_and_the_policy_that_it_ended_under(
    idle: None, defined: Installation, events: list[Event]
) -> None:
    async with defined.consumer():
        await published(defined, events)
        await defined.caught_up()
        await swept(defined)
        before = await stored_bytes(defined.postgres)
        await defined.postgres.execute(
            """UPDATE customers SET timezone = 'America/St_Johns', policy = '{"severity_spam_label": 7}'"""
        )
        await defined.postgres.execute("UPDATE history_sweeps SET flags_version = 0")
        await swept(defined, "America/St_Johns")
        after = await stored_bytes(defined.postgres)
        assert {table: set(rows) - set(after[table]) for table, rows in before.items()} == {
            "customer_days": set(),
            "caller_id_days": set(),
        }


async def test_a_caller_id_leaves_its_history_behind(idle: None, defined: Installation) -> None:
    [yesterday] = last_days(1)
    async with defined.consumer():
        await published(defined, [placed("1", yesterday.end_ms - HOUR), placed("2", yesterday.end_ms - HOUR, 19)])
        await defined.caught_up()
        await swept(defined)
        await defined.postgres.execute("DELETE FROM caller_id_group_members")
        await define(defined.postgres, 8, [])
        await defined.postgres.execute("UPDATE caller_ids SET customer_id = 8 WHERE id = 18")
        await defined.postgres.execute("DELETE FROM caller_ids WHERE id = 19")
        assert await recorded(defined.postgres, CUSTOMER) == await recorded(defined.postgres, 8) == {}


# The roll-up as it runs


async def test_a_day_is_rolled_up_soon_after_midnight(defined: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that stands just before it."""
    monkeypatch.setattr(domain, "SWEEPS_MS", (1_000, HOUR))
    today = day_of(ZONE, local_date(ZONE, now_ms()))
    offset_ms = today.end_ms - now_ms() - 8_000
    async with defined.consumer(clock_offset=str(offset_ms / 1000)):
        await published(defined, [placed("1", today.end_ms - HOUR), placed("2", today.end_ms - MINUTE)])
        await defined.caught_up()
        assert now_ms() + offset_ms < today.end_ms, "midnight passed before the calls were folded"
        assert (18, today.date) not in await recorded(defined.postgres, CUSTOMER)

        async def is_rolled_up() -> bool:
            found = (await recorded(defined.postgres, CUSTOMER)).get((18, today.date))
            return found is not None and found.calls == 2

        await until(is_rolled_up, SECONDS, "the day is rolled up")
        assert now_ms() + offset_ms > today.end_ms


async def test_postgres_may_be_away_while_events_are_folded(defined: Installation, events: list[Event]) -> None:
    """Its connections are ended again and again, also in the middle of a sweep."""

    async def end_connections() -> None:
        await defined.postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await asyncio.sleep(0.3)

    async with defined.consumer():
        await defined.caught_up()
        async with meanwhile(end_connections):
            await published(defined, events)
            await defined.caught_up()
        await rolled_up(defined, of_known_days(events))


async def test_a_failure_of_one_customer_keeps_no_other_waiting(
    defined: Installation, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    await define(defined.postgres, 6, [1])
    failures = metric("rotary_history_failures_total")

    async def fail(connection: Connection, reader: PastReader, customer: Customer) -> int:
        if customer.id == 6:
            raise ZeroDivisionError
        return await sweep(connection, reader, customer)

    monkeypatch.setattr(rollup, "sweep", fail)
    async with defined.consumer():
        await published(defined, events)
        await rolled_up(defined, of_known_days(events))
        assert metric("rotary_history_failures_total") > failures
        assert metric("rotary_history_oldest_due_seconds") > 0


async def test_a_day_that_waits_is_told_of_while_postgres_is_away(
    defined: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domain, "SWEEPS_MS", (1_000, HOUR))
    async with TcpProxy(defined.servers.postgres_url) as proxy:
        today = day_of(ZONE, local_date(ZONE, now_ms()))
        offset_ms = today.end_ms - now_ms() - 12_000
        async with defined.consumer(clock_offset=str(offset_ms / 1000), postgres_url=proxy.url):
            await defined.caught_up()

            async def is_swept() -> bool:
                return bool(await defined.postgres.fetchval("SELECT swept_ms FROM history_sweeps"))

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
    defined: Installation, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor do they keep the fold or a stop waiting."""
    customers, computed = 5_000, list[str]()

    def counted(timezone: str, at_ms: int) -> int:
        computed.append(timezone)
        return domain.due_ms(timezone, at_ms)

    async def sweeping_has_begun() -> bool:
        return bool(computed)

    monkeypatch.setattr(rollup, "due_ms", counted)
    await defined.postgres.execute(
        "INSERT INTO customers (id, name, timezone) SELECT id, 'Sales', $1 FROM generate_series(1001, 1000 + $2) AS id",
        ZONE,
        customers,
    )
    async with asyncio.timeout(2 * SECONDS):
        async with defined.consumer():
            await published(defined, events)
            await until(sweeping_has_begun, SECONDS, "the due customers are known")
            await defined.caught_up()
    assert 0 < len(computed) < customers, "it is the same for all customers of a zone"
