"""History on real servers: whatever happens to Redis, Postgres and the consumers, the same days have the same rows."""

import asyncio

import pytest

from histories import DAY, HOUR, MINUTE, cleared, flagged, placed
from integration.consuming import Installation, metric
from integration.history_world import (
    CALLERS,
    CUSTOMER,
    SECONDS,
    last_days,
    of_known_days,
    published,
    rolled_up,
    swept,
)
from integration.past import define, figured, recorded, stored_bytes
from rotary.domain.history import HISTORY_DAYS, Figures
from rotary.events import Event
from rotary.postgres import history
from rotary.postgres import logs as records
from rotary.postgres.connection import Connection
from rotary.redis import keys
from rotary.redis.observation import NotCurrentError
from rotary.redis.past import PastReader
from rotary_consumer.history import rollup
from rotary_consumer.history import sweep as sweeping
from running import until


async def test_rows_are_the_pure_figures_of_the_events(historic: Installation, busy: list[Event]) -> None:
    async with historic.consumer():
        await published(historic, busy)
        await rolled_up(historic, of_known_days(busy))
    assert metric("rotary_history_failures_total") == 0


async def test_an_emptied_redis_gives_the_same_rows(historic: Installation, busy: list[Event]) -> None:
    async with historic.consumer():
        await published(historic, busy)
        await rolled_up(historic, of_known_days(busy))
        before = await stored_bytes(historic.postgres)
        await historic.redis.flushdb()
        await historic.caught_up()
        await swept_beside(historic)
        assert await stored_bytes(historic.postgres) == before


async def test_rows_that_were_lost_are_written_again(historic: Installation, busy: list[Event]) -> None:
    async with historic.consumer():
        await published(historic, busy)
        await rolled_up(historic, of_known_days(busy))
        before = await stored_bytes(historic.postgres)
        await historic.postgres.execute("TRUNCATE customer_days, caller_id_days, history_sweeps")
        await rolled_up(historic, of_known_days(busy))
        assert await stored_bytes(historic.postgres) == before


async def test_two_consumers_at_once_write_what_one_writes(historic: Installation, busy: list[Event]) -> None:
    async with historic.consumer(), historic.consumer():
        await published(historic, busy[::2])
        await historic.caught_up()
        sweeps = [asyncio.create_task(swept_beside(historic, 3)) for _ in range(3)]
        await published(historic, busy[1::2])
        await asyncio.gather(*sweeps)
        await rolled_up(historic, of_known_days(busy))


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
    idle: None, historic: Installation, busy: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with historic.consumer():
        await published(historic, busy)
        await historic.caught_up()
        for batches in range(2):
            with monkeypatch.context() as patched:
                patched.setattr(history, "write_figures", failing_after(batches))
                with pytest.raises(ZeroDivisionError):
                    await swept(historic)
            assert not any(any(one.knew) for one in await history.read_days(historic.postgres, CUSTOMER))
        assert await recorded(historic.postgres, CUSTOMER)
        await swept(historic)
        assert await recorded(historic.postgres, CUSTOMER) == of_known_days(busy)


def failing_after(batches: int) -> object:
    write, left = history.write_figures, [batches]

    async def fail(*arguments: object) -> int | None:
        left[0] -= 1
        if left[0] < 0:
            raise ZeroDivisionError
        return await write(*arguments)  # type: ignore[arg-type]

    return fail


async def test_figures_from_older_facts_never_replace_newer_ones(historic: Installation) -> None:
    yesterday = last_days(1)[0].date
    newer, older = ({(18, yesterday): Figures(calls, (0, 0, 0, 0), 0, 100)} for calls in (2, 1))
    await history.begin_sweep(historic.postgres, CUSTOMER, last_days(1))
    assert await history.write_figures(historic.postgres, CUSTOMER, 1_000, newer, []) == 1
    assert await history.write_figures(historic.postgres, CUSTOMER, 999, older, [(18, yesterday)]) is None
    assert await recorded(historic.postgres, CUSTOMER) == newer


# Facts that may not be believed


async def test_history_waits_for_facts_that_are_behind(idle: None, historic: Installation, busy: list[Event]) -> None:
    async with historic.consumer():
        await published(historic, busy)
        await historic.caught_up()
        await swept(historic)
        before = await stored_bytes(historic.postgres)

    async def is_behind() -> bool:
        return not (await historic.bucket_statuses())[0].age_ms(await historic.redis_now_ms()) <= 2_000

    await until(is_behind, SECONDS, "the facts are behind")
    with pytest.raises(NotCurrentError, match="behind the log"):
        await swept(historic)
    await historic.redis.flushdb()
    with pytest.raises(NotCurrentError, match="being rebuilt"):
        await swept(historic)
    assert await stored_bytes(historic.postgres) == before


async def test_facts_that_are_lost_during_a_sweep_end_it(
    idle: None, historic: Installation, busy: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = history.write_figures

    async def lose(*arguments: object) -> int | None:
        """Redis is emptied after the first batch, and what the logs had before just now is gone."""
        written = await write(*arguments)  # type: ignore[arg-type]
        now = await historic.redis_now_ms()
        await historic.redis.hset(keys.position(keys.bucket_of(CUSTOMER)), "calls.0^", str(now))
        return written

    async with historic.consumer():
        await published(historic, busy)
        await historic.caught_up()
        monkeypatch.setattr(history, "write_figures", lose)
        with pytest.raises(NotCurrentError, match="lost"):
            await swept(historic)
        assert not any(any(one.knew) for one in await history.read_days(historic.postgres, CUSTOMER))


async def test_what_the_logs_no_longer_have_leaves_what_is_on_record(
    idle: None, historic: Installation, busy: list[Event]
) -> None:
    """Redis is emptied, and the logs begin with today: the facts are less than they were."""
    position = keys.position(keys.bucket_of(CUSTOMER))
    async with historic.consumer():
        await published(historic, busy)
        await historic.caught_up()
        await swept(historic)
        before = await stored_bytes(historic.postgres)
        now = str(await historic.redis_now_ms())
        await historic.redis.hset(position, mapping={"calls.0^": now, "flags.0^": now})
        facts = [key async for key in historic.redis.scan_iter("*:calls:*")]
        facts += [key async for key in historic.redis.scan_iter("*:flags:*")]
        await historic.redis.delete(*facts)
        await swept(historic)
        assert await stored_bytes(historic.postgres) == before
        await historic.postgres.execute("TRUNCATE customer_days, caller_id_days, history_sweeps")
        await swept(historic)
        assert await stored_bytes(historic.postgres) == {"customer_days": [], "caller_id_days": []}


async def test_a_rebuild_does_not_count_what_the_logs_have_lost(idle: None, historic: Installation) -> None:
    """A log was retired and removed: nothing but the record in Postgres knows that it held events."""
    [yesterday] = last_days(1)
    async with historic.consumer():
        await published(historic, [placed("1", yesterday.end_ms - HOUR)])
        await historic.caught_up()
    await records.add_logs(historic.postgres, ["calls.7"], "draining")
    await records.remove_log(historic.postgres, "calls.7")
    await historic.redis.flushdb()
    async with historic.consumer():
        await historic.caught_up()
        await swept(historic)
        assert await history.read_days(historic.postgres, CUSTOMER) == []
        past = await PastReader(historic.redis).read(CUSTOMER)
        assert past.coverage.calls_from_ms > yesterday.end_ms
        assert past.coverage.flags_from_ms < yesterday.begin_ms


async def test_days_whose_calls_are_gone_have_flags_and_no_calls(
    idle: None, historic: Installation, busy: list[Event]
) -> None:
    """The roll-up was down for longer than counters are kept."""
    async with historic.consumer():
        await published(historic, busy)
        await historic.caught_up()
        eldest = last_days(20)[0]
        await history.begin_sweep(historic.postgres, CUSTOMER, [eldest])
        await swept(historic)
        days = {one.day.date: one for one in await history.read_days(historic.postgres, CUSTOMER)}
        assert len(days) == 20, "none is left out"
        oldest, newest = days[eldest.date], days[last_days(1)[0].date]
        assert (oldest.knew.calls, oldest.knew.flags, all(newest.knew)) == (False, True, True)
        rows = await recorded(historic.postgres, CUSTOMER)
        full = figured(busy, last_days(20), CALLERS)
        for key, row in rows.items():
            if key[1] == eldest.date:
                assert (row.calls, row.health) == (None, None)
                assert (row.flags, row.resting_seconds) == (full[key].flags, full[key].resting_seconds)


# Late busy, and the end of them


async def test_late_events_correct_earlier_days(historic: Installation) -> None:
    yesterday, before = reversed(last_days(2))
    early = [placed("1", yesterday.end_ms - HOUR)]
    # A call may be two days old, which the end of the day before yesterday is not yet at any time of today.
    calls = [placed("2", yesterday.end_ms - 2 * HOUR), placed("3", before.end_ms - 1)]
    signs: list[Event] = [flagged("4", "blocked", before.end_ms - HOUR), cleared("5", before.end_ms - MINUTE)]
    async with historic.consumer():
        await published(historic, early)
        await rolled_up(historic, of_known_days(early))
        await published(historic, calls)
        await rolled_up(historic, of_known_days([*early, *calls]))
        await published(historic, signs)
        await rolled_up(historic, of_known_days([*early, *calls, *signs]))


async def test_a_day_that_is_final_never_changes(idle: None, historic: Installation) -> None:
    [yesterday] = last_days(1)
    first, later = placed("1", yesterday.end_ms - HOUR), placed("2", yesterday.end_ms - HOUR)
    async with historic.consumer():
        await published(historic, [first, flagged("3", "blocked", yesterday.end_ms - HOUR)])
        await historic.caught_up()
        await swept(historic)
        states = []
        for days in (0, 3, 31):
            await swept(historic, offset_ms=days * DAY)
            [stored] = [
                one for one in await history.read_days(historic.postgres, CUSTOMER) if one.day.date == yesterday.date
            ]
            states.append((stored.calls_final, stored.final))
        assert states == [(False, False), (True, False), (True, True)]
        before = (await recorded(historic.postgres, CUSTOMER))[18, yesterday.date]
        await published(historic, [later, flagged("4", "blocked", yesterday.end_ms - 2 * HOUR)])
        await historic.caught_up()
        await swept(historic, offset_ms=31 * DAY)
        assert (await recorded(historic.postgres, CUSTOMER))[18, yesterday.date] == before


async def test_days_beyond_the_last_35_are_removed(idle: None, historic: Installation, busy: list[Event]) -> None:
    async with historic.consumer():
        await published(historic, busy)
        await historic.caught_up()
        await swept(historic)
        assert await recorded(historic.postgres, CUSTOMER)
        await swept(historic, offset_ms=(HISTORY_DAYS + 10) * DAY)
        days = await history.read_days(historic.postgres, CUSTOMER)
        assert len(days) == HISTORY_DAYS
        oldest = min(one.day.date for one in days)
        assert not [key for key in await recorded(historic.postgres, CUSTOMER) if key[1] < oldest]


# What a customer changes


async def test_a_day_keeps_the_zone_and_the_policy_that_it_ended_under(
    idle: None, historic: Installation, busy: list[Event]
) -> None:
    async with historic.consumer():
        await published(historic, busy)
        await historic.caught_up()
        await swept(historic)
        before = await stored_bytes(historic.postgres)
        await historic.postgres.execute(
            """UPDATE customers SET timezone = 'America/St_Johns', policy = '{"severity_spam_label": 7}'"""
        )
        await historic.postgres.execute("UPDATE history_sweeps SET flags_version = 0")
        await swept(historic, "America/St_Johns")
        after = await stored_bytes(historic.postgres)
        assert {table: set(rows) - set(after[table]) for table, rows in before.items()} == {
            "customer_days": set(),
            "caller_id_days": set(),
        }


async def test_a_caller_id_leaves_its_history_behind(idle: None, historic: Installation) -> None:
    [yesterday] = last_days(1)
    async with historic.consumer():
        await published(historic, [placed("1", yesterday.end_ms - HOUR), placed("2", yesterday.end_ms - HOUR, 19)])
        await historic.caught_up()
        await swept(historic)
        await historic.postgres.execute("DELETE FROM caller_id_group_members")
        await define(historic.postgres, 8, [])
        await historic.postgres.execute("UPDATE caller_ids SET customer_id = 8 WHERE id = 18")
        await historic.postgres.execute("DELETE FROM caller_ids WHERE id = 19")
        assert await recorded(historic.postgres, CUSTOMER) == await recorded(historic.postgres, 8) == {}
