"""The reader of a log in a consumer: whatever ends, another goes on, and after any outage all is folded."""

import asyncio

import pytest

from histories import HOUR, MINUTE, placed
from integration.consuming import Installation, meanwhile, metric, now_ms
from integration.tcp_proxy import TcpProxy
from rotary.rabbitmq import topology
from rotary.rabbitmq.markers import publish_marker, user_of
from rotary.rabbitmq.topology import Log
from rotary.redis import keys
from rotary.redis.connection import load_functions
from running import until

pytestmark = pytest.mark.asyncio(loop_scope="function")

CALLS = Log("calls", 0)
CUSTOMER = 7


async def call(made: Installation, *numbers: int) -> None:
    await made.publish(CUSTOMER, *[placed(f"{n}", now_ms()) for n in numbers])


async def test_after_an_outage_of_hours_with_thousands_of_messages_all_are_folded(installed: Installation) -> None:
    """No marker stands between them: each looks hours ahead of the last one there is, and is judged by the next."""
    await topology.declare_exchanges(installed.broker)
    for log in (CALLS, Log("flags", 0)):
        await topology.declare_log(installed.broker, log)
    await topology.route(installed.broker, [CALLS, Log("flags", 0)])
    await publish_marker(
        installed.broker,
        CALLS.queue,
        await installed.redis_now_ms() - 5 * HOUR,
        user_of(installed.servers.rabbitmq_url),
    )
    events = [placed(f"{n}", now_ms() - MINUTE) for n in range(2_600)]
    await asyncio.gather(*(installed.publish(CUSTOMER, event) for event in events))
    await installed.postgres.execute("UPDATE event_logs SET created_at = now()")
    async with installed.consumer():
        await installed.caught_up()
        assert await installed.calls(CUSTOMER) == len(events)
    assert await installed.parked() == []


@pytest.mark.parametrize("prefetch", ["10"])
async def test_any_prefetch_will_do(installed: Installation, prefetch: str) -> None:
    async with installed.consumer(prefetch=prefetch):
        await installed.caught_up()
        # Ahead of the last marker, so that it waits for the next one with all that follows.
        await installed.publish(CUSTOMER, placed("ahead", now_ms() + 5 * MINUTE - 10))
        await call(installed, *range(20))
        await installed.caught_up()
        assert await installed.calls(CUSTOMER) == 21


async def test_two_consumers_share_the_logs_and_one_that_ends_is_replaced(installed: Installation) -> None:
    async with installed.consumer():
        async with installed.consumer():
            await installed.caught_up()

            async def is_shared() -> bool:
                names = await installed.redis.hkeys(keys.LEASES)
                return len({name for name in names if isinstance(name, bytes) and name.startswith(b"c ")}) == 2

            await until(is_shared, 10, "both live")
            await call(installed, 1)
            await installed.caught_up()
        await call(installed, 2)
        await installed.caught_up(8)
        assert await installed.calls(CUSTOMER) == 2


async def test_a_backlog_is_read_without_taking_the_reader_for_lost(installed: Installation) -> None:
    """Folds and advances are sent in the order of the log, however fast it comes."""
    async with installed.consumer():
        await installed.caught_up()
    await asyncio.gather(*(call(installed, n) for n in range(3_000)))
    lost = metric("rotary_positions_lost_total", log="calls.0")
    async with installed.consumer():
        await installed.caught_up()
    assert await installed.calls(CUSTOMER) == 3_000
    assert metric("rotary_positions_lost_total", log="calls.0") == lost


async def test_an_emptied_redis_is_filled_again_and_not_believed_before(installed: Installation) -> None:
    async with installed.consumer():
        await installed.caught_up()
        await call(installed, *range(50))
        await installed.caught_up()

        async def all_or_nothing() -> None:
            now = await installed.redis_now_ms()
            bucket_status = (await installed.bucket_statuses())[keys.bucket_of(CUSTOMER)]
            calls = await installed.calls(CUSTOMER)
            later = (await installed.bucket_statuses())[keys.bucket_of(CUSTOMER)]
            if bucket_status.refusal(now) is None and later == bucket_status:
                assert calls == 50

        async with meanwhile(all_or_nothing):
            await installed.redis.flushdb()
            await installed.caught_up()
        assert await installed.calls(CUSTOMER) == 50


async def test_when_one_log_notices_a_loss_all_are_read_again_at_once(
    installed: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the log of the new call has a reason to look; the others' own next markers are an hour away."""
    async with installed.consumer():
        await installed.caught_up()
        monkeypatch.setattr("rotary_consumer.marking.MARKER_SECONDS", HOUR / 1000)
        await asyncio.sleep(0.6)  # each reader is past its last marker of the former pace
        await installed.redis.flushdb()
        await call(installed, 1)

        async def is_read() -> bool:
            position = await installed.redis.hgetall(keys.position(keys.bucket_of(CUSTOMER)))
            return {b"calls.0", b"flags.0"} <= position.keys()

        await until(is_read, 10, "every log has a position again")


async def test_a_redis_that_lost_its_functions_gets_them_again(installed: Installation) -> None:
    async with installed.consumer():
        await installed.caught_up()
        await installed.redis.function_flush()
        try:
            await call(installed, 1)
            await installed.caught_up()
        finally:
            await load_functions(installed.redis)
        assert await installed.calls(CUSTOMER) == 1


@pytest.mark.parametrize("server", ["redis_url", "rabbitmq_url"])
async def test_a_server_that_is_lost_for_a_moment_is_gone_on_with(installed: Installation, server: str) -> None:
    urls = {"redis_url": installed.redis_url, "rabbitmq_url": installed.servers.rabbitmq_url}
    async with TcpProxy(urls[server]) as proxy, installed.consumer(**{server: proxy.url}):
        await installed.caught_up()
        await proxy.cut()
        await call(installed, 1, 2)
        await proxy.mend()
        await installed.caught_up()
        assert await installed.calls(CUSTOMER) == 2


async def test_one_that_reads_a_log_without_a_lease_does_no_harm(installed: Installation) -> None:
    """A consumer that was paused goes on as if nothing had happened, while another has taken its logs over."""
    async with installed.consumer(), installed.consumer():
        await installed.caught_up()
        for number in range(20):
            await installed.redis.delete(keys.LEASES)  # both take what they can, again and again
            await call(installed, number)
        await installed.caught_up()
        assert await installed.calls(CUSTOMER) == 20
