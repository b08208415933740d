"""A log that lost something is never believed in silence; logs come and go while events flow."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from pamqp.common import FieldTable

from histories import placed
from integration.consuming import Installation, Servers, installation, meanwhile, metric, now_ms
from integration.tcp_proxy import TcpProxy
from rotary.domain.facts import Facts, fold
from rotary.events import EVENT_CONTENT_TYPE
from rotary.postgres import logs as records
from rotary.rabbitmq import topology
from rotary.rabbitmq.stream import open_log
from rotary.rabbitmq.topology import Log
from rotary.redis import keys
from rotary.redis.pipeline import Pipeline
from rotary.redis.positions import LogPosition, Positions
from running import until

pytestmark = pytest.mark.asyncio(loop_scope="function")

CALLS = Log("calls", 0)
CUSTOMER = 7


@pytest.fixture
async def installed(servers: Servers) -> AsyncIterator[Installation]:
    """No log is registered yet."""
    async with installation(servers) as made:
        yield made


async def one_log_of_calls(made: Installation) -> None:
    """Registers one log of each kind, so that every customer's calls are in calls.0."""
    await records.add_logs(made.postgres, ["calls.0", "flags.0"], "active")


async def call(made: Installation, count: int, begin: int = 0) -> None:
    await made.publish(CUSTOMER, *[placed(f"{n}", now_ms()) for n in range(begin, begin + count)])


async def is_closed(made: Installation) -> bool:
    """Every bucket is closed for a gap."""
    now = await made.redis_now_ms()
    return all(one.gap_ms > now for one in await made.bucket_statuses())


async def closed_for_good(made: Installation) -> None:
    """The gap is said everywhere: to readers, on record, and as a metric."""
    await until(lambda: is_closed(made), 20, "the monitors are closed")

    async def on_record() -> bool:
        return (await made.record("calls.0")).gap_until is not None

    await until(on_record, 10, "the gap is on record")
    until_when = (await made.record("calls.0")).gap_until
    assert until_when is not None
    assert timedelta(hours=48) < until_when - datetime.now(UTC) < timedelta(hours=51)
    assert metric("rotary_log_gap", log="calls.0") == 1
    now = await made.redis_now_ms()
    assert all((one.refusal(now) or "").startswith("The event log lost events") for one in await made.bucket_statuses())


async def accepted(made: Installation) -> None:
    """The operator's word opens the monitors."""
    assert await records.accept_gap(made.postgres, "calls.0")

    async def is_open() -> bool:
        now = await made.redis_now_ms()
        return all(one.refusal(now) is None for one in await made.bucket_statuses())

    await until(is_open, 20, "the monitors are open")

    async def is_quiet() -> bool:
        return metric("rotary_log_gap", log="calls.0") == 0

    await until(is_quiet, 10, "the metric says so")


async def test_a_log_that_is_deleted_under_its_reader_closes_the_monitors_until_the_operators_word(
    installed: Installation,
) -> None:
    await one_log_of_calls(installed)
    async with installed.consumer():
        await installed.caught_up()
        await call(installed, 3)
        await installed.caught_up()
        await installed.delete(CALLS)
        await closed_for_good(installed)
        await installed.declare(CALLS)
        await call(installed, 2, begin=10)
        await installed.caught_up()
        assert await is_closed(installed), "also once it is read again"
        await accepted(installed)
        assert await installed.calls(CUSTOMER) == 5


async def test_a_log_that_was_made_anew_while_nobody_read_is_noticed_although_redis_was_emptied(
    installed: Installation,
) -> None:
    """Nothing but the record in Postgres can tell."""
    await one_log_of_calls(installed)
    await fill_and_note(installed)
    await installed.delete(CALLS)
    await installed.declare(CALLS)
    await installed.redis.flushdb()
    async with installed.consumer():
        await closed_for_good(installed)


async def test_a_log_that_was_made_anew_and_has_grown_past_where_it_was_read_is_noticed(
    installed: Installation,
) -> None:
    await one_log_of_calls(installed)
    await fill_and_note(installed)
    [next_offset] = {position.next for position in await stored(installed)}
    await installed.delete(CALLS)
    await installed.declare(CALLS)
    await call(installed, (next_offset or 0) + 20, begin=1000)
    async with installed.consumer():
        await closed_for_good(installed)
        await installed.caught_up()
        assert await installed.calls(CUSTOMER) == 3 + (next_offset or 0) + 20, "it is read from its beginning"


async def test_a_log_that_ends_before_where_it_was_read_is_noticed(installed: Installation) -> None:
    await one_log_of_calls(installed)
    await fill_and_note(installed, calls=30)
    await installed.postgres.execute("UPDATE event_logs SET first_message = NULL")
    await installed.delete(CALLS)
    await installed.declare(CALLS)
    async with installed.consumer():
        await closed_for_good(installed)


async def fill_and_note(made: Installation, calls: int = 3) -> None:
    """Some calls are folded, the log's beginning is on record, and the consumer has ended."""
    async with made.consumer():
        await made.caught_up()
        await call(made, calls)
        await made.caught_up()

        async def is_noted() -> bool:
            return (await made.record("calls.0")).first_message is not None

        await until(is_noted, 10, "what the log begins with is on record")


async def stored(made: Installation) -> Sequence[LogPosition]:
    pipeline = Pipeline(made.redis)
    try:
        return await Positions(pipeline).read("calls.0")
    finally:
        await pipeline.close()


async def test_a_log_that_dropped_what_was_not_read_yet_closes_the_monitors_and_is_read_on_behind_the_gap(
    installed: Installation,
) -> None:
    await short_log(installed)
    async with installed.consumer():
        await installed.caught_up()
        await call(installed, 3)
        await installed.caught_up()
    first = await overflow(installed)
    async with installed.consumer():
        await closed_for_good(installed)
        await installed.caught_up()
        assert ((await stored(installed))[0].next or 0) > first


async def test_a_log_that_had_dropped_what_still_matters_before_redis_was_filled_closes_the_monitors(
    installed: Installation,
) -> None:
    """As after a loss of Redis when the broker kept less than it should."""
    await short_log(installed)
    async with installed.consumer():
        await installed.caught_up()
    await overflow(installed)
    await installed.redis.flushdb()
    async with installed.consumer():
        await closed_for_good(installed)


async def short_log(made: Installation) -> None:
    """A log that keeps a few messages only."""
    await one_log_of_calls(made)
    await topology.declare_exchanges(made.broker)
    few: FieldTable = {
        "x-queue-type": "stream",
        "x-max-length-bytes": 20_000,
        "x-stream-max-segment-size-bytes": 10_000,
    }
    await made.broker.declare_queue(CALLS.queue, durable=True, arguments=few)
    await made.postgres.execute("UPDATE event_logs SET created_at = now() WHERE name = 'calls.0'")


async def overflow(made: Installation) -> int:
    """Fills the log until it has dropped its beginning; returns where it begins now."""
    for _ in range(100):
        for _ in range(10):
            await made.publish_raw(f"call-placed.{CUSTOMER}", b"x" * 4_000, EVENT_CONTENT_TYPE)
        async with open_log(made.servers.rabbitmq_url, CALLS.queue, "first") as consumer:
            taken = await consumer.take(1, 5)
        if taken and taken[0].offset > 20:
            return taken[0].offset
    raise AssertionError("it drops nothing")


async def test_a_gap_that_could_not_be_written_down_goes_on_record_later(installed: Installation) -> None:
    """As when Postgres is away, and who found it has died since."""
    await one_log_of_calls(installed)
    async with installed.consumer():
        await installed.caught_up()
        until_ms = await installed.redis_now_ms() + 3_600_000
        pipeline = Pipeline(installed.redis)
        await Positions(pipeline).gap([1], "calls.0", None, ["calls.0", "flags.0"], until_ms)
        await pipeline.close()

        async def on_record() -> bool:
            return (await installed.record("calls.0")).gap_until is not None

        await until(on_record, 10, "the gap is on record")
        assert (await installed.bucket_statuses())[1].gap_ms == until_ms, "and is not opened meanwhile"
        await accepted(installed)


async def test_an_accepted_gap_says_nothing_of_the_next_one(installed: Installation) -> None:
    await one_log_of_calls(installed)
    async with installed.consumer():
        await installed.caught_up()
        for _ in range(2):
            await installed.delete(CALLS)
            await closed_for_good(installed)
            await installed.declare(CALLS)
            await installed.caught_up()
            await accepted(installed)


async def test_a_new_log_is_read_before_it_is_written_to_and_no_monitor_closes_meanwhile(
    installed: Installation,
) -> None:
    await one_log_of_calls(installed)
    async with installed.consumer():
        await installed.caught_up()
        count = 0

        async def is_active() -> bool:
            nonlocal count
            await call(installed, 1, begin=count)
            count += 1
            return (await installed.record("calls.1")).state == "active"

        customers = range(100, 140)
        async with meanwhile(lambda: all_open(installed)):
            await records.add_logs(installed.postgres, ["calls.1"], "new")
            await until(is_active, 20, "the log is active")
            for customer in customers:
                await installed.publish(customer, placed("1", now_ms()))
            await installed.caught_up()
        assert await installed.calls(CUSTOMER) == count
        assert sum([await installed.calls(customer) for customer in customers]) == 40
        async with open_log(installed.servers.rabbitmq_url, Log("calls", 1).queue, "first") as consumer:
            assert [one for one in await consumer.take(1000, 5) if one.exchange], "it gets its share"


async def all_open(made: Installation) -> None:
    now = await made.redis_now_ms()
    assert all(one.refusal(now) is None for one in await made.bucket_statuses()), "a monitor was closed"


async def test_a_retired_log_is_forgotten_once_nothing_in_it_counts(installed: Installation) -> None:
    await records.add_logs(installed.postgres, ["calls.0", "calls.1", "flags.0"], "active")
    async with installed.consumer():
        await installed.caught_up()
        await records.set_state(installed.postgres, "calls.1", "draining")
        await topology.unroute(installed.broker, Log("calls", 1), [CALLS, Log("flags", 0)])
        assert (await installed.record("calls.1")).retired_at is not None
        await installed.caught_up()
        await retired_for(installed, 50.5)

        async def is_forgotten() -> bool:
            named = await installed.redis.hmget(keys.position(0), "logs", "calls.1", "calls.1@")
            return named == [b"calls.0,flags.0", None, None]

        await until(is_forgotten, 10, "no position names it")
        await installed.caught_up()
        await asyncio.sleep(1.5)  # for as long as a reader that still named it would need to bring it back
        assert await is_forgotten()
        assert await installed.record("calls.1") is not None, "a consumer that was paused may name it again"
        await retired_for(installed, 60)

        async def is_gone() -> bool:
            return "calls.1" not in [record.name for record in await records.read_logs(installed.postgres)]

        await until(is_gone, 10, "its record is gone")
        await installed.caught_up()


async def retired_for(made: Installation, hours: float) -> None:
    """Sets the clock of a retired log forward."""
    since = datetime.now(UTC) - timedelta(hours=hours)
    await made.postgres.execute("UPDATE event_logs SET retired_at = $1 WHERE name = 'calls.1'", since)


async def test_a_consumer_that_starts_while_postgres_is_away_reads_what_redis_names(installed: Installation) -> None:
    await one_log_of_calls(installed)
    async with installed.consumer():
        await installed.caught_up()
    async with TcpProxy(installed.servers.postgres_url) as proxy:
        await proxy.cut()
        async with installed.consumer(postgres_url=proxy.url):
            await call(installed, 4)
            await installed.caught_up()
            assert await installed.calls(CUSTOMER) == 4


async def test_an_emptied_redis_is_not_believed_before_the_record_was_asked(installed: Installation) -> None:
    """A consumer that runs goes on; but who knows nothing of the logs can't vouch for them."""
    await one_log_of_calls(installed)
    events = [placed(f"{n}", now_ms()) for n in range(4)]
    async with installed.consumer():
        await installed.caught_up()
        await installed.publish(CUSTOMER, *events)
        await installed.caught_up()
        await installed.redis.flushdb()
        await installed.caught_up()
        [expected] = fold({}, events).values() or [Facts()]
        assert await installed.calls(CUSTOMER) == len(expected.calls)
