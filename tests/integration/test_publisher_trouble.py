"""Every event is confirmed or reported when the broker is lost, refuses it, or has no queue for it."""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import aio_pika
import pytest

from integration.inbox import Inbox, open_inbox
from integration.private_vhost import lasting_vhost, memory_alarm, private_user
from integration.tcp_proxy import TcpProxy
from rotary.errors import UnavailableError
from rotary.events import EXCHANGE
from rotary.publisher import (
    ClosedError,
    DeadlineError,
    Limits,
    Publisher,
    PublishError,
    RefusedError,
    UnroutableError,
)
from rotary.rabbitmq import topology
from rotary.rabbitmq.stream import open_log

SOURCE = "/dialers/hcm-1"
SHORT = Limits(deadline_seconds=0.5)
CONNECTION_BLOCKED = b"\x00\x0a\x00\x3c"


@pytest.fixture(scope="module")
def broker_url(stack: Mapping[str, str]) -> Iterator[str]:
    """On a broker that no other worker uses: to one that is out of memory nobody can publish."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ROTARY_STACK_RABBITMQCTL", stack["ROTARY_STACK_RABBITMQCTL"])
        yield lasting_vhost(stack["ROTARY_RABBITMQ_URL"])


def publisher(broker_url: str, limits: Limits | None = None, customer_id: int = 7) -> Publisher:
    return Publisher(broker_url, customer_id=customer_id, source=SOURCE, limits=limits or Limits())


async def test_an_unconfirmed_event_is_sent_again_with_the_same_identity(proxy: TcpProxy, inbox: Inbox) -> None:
    async with publisher(proxy.url) as dialer:
        await inbox.open_channel_of(dialer)
        proxy.silence()
        placing = asyncio.create_task(dialer.call_placed(18))
        (lost,) = await inbox.events(1)
        assert not placing.done()
        await proxy.drop()
        event = await asyncio.wait_for(placing, 10)
        (again,) = await inbox.events(1)
    assert lost == again
    assert again["id"] == event.id
    assert proxy.accepted == 2


async def test_every_event_arrives_through_many_lost_connections(proxy: TcpProxy, inbox: Inbox) -> None:
    async with publisher(proxy.url, Limits(batch_events=20)) as dialer:
        await inbox.open_channel_of(dialer)
        events = []
        for _ in range(5):
            proxy.silence()
            placing = [asyncio.create_task(dialer.call_placed(18)) for _ in range(400)]
            await inbox.message()
            await proxy.drop()
            events += await asyncio.gather(*placing)
        assert (dialer.confirmed, dialer.undelivered) == (2_001, 0)
        # What the inbox has given away already comes once more.
        await asyncio.gather(*(dialer.publish(event) for event in events))
    await inbox.until({event.id for event in events})
    assert proxy.accepted == 6


async def test_a_publish_waits_while_the_broker_is_down(proxy: TcpProxy, inbox: Inbox) -> None:
    async with publisher(proxy.url) as dialer:
        await proxy.cut()
        future = dialer.submit(dialer.events.call_placed(18))
        await asyncio.sleep(0.2)
        assert not future.done()
        await proxy.mend()
        await asyncio.wait_for(future, 10)
    assert len(await inbox.events(1)) == 1


async def test_past_the_deadline_the_error_carries_the_event(proxy: TcpProxy, inbox: Inbox) -> None:
    async with publisher(proxy.url, SHORT) as dialer:
        await proxy.cut()
        event = dialer.events.call_placed(18)
        began = asyncio.get_running_loop().time()
        with pytest.raises(DeadlineError, match=r"^1 event not published: not confirmed within 0.5 s; last") as caught:
            await dialer.publish(event)
        assert 0.4 <= asyncio.get_running_loop().time() - began < 5
        assert caught.value.events == (event,)
        assert (dialer.undelivered, dialer.outstanding) == (1, 0)
        await proxy.mend()
        await asyncio.wait_for(_until_published(dialer, caught.value), 10)
    assert [arrived["id"] for arrived in await inbox.events(1)] == [event.id]


async def _until_published(dialer: Publisher, error: PublishError) -> None:
    """Publishes the events of the error again, as the documentation recommends."""
    while True:
        try:
            await asyncio.gather(*(dialer.publish(event) for event in error.events))
        except DeadlineError:
            continue
        return


async def test_leaving_reports_everything_that_could_not_be_delivered(proxy: TcpProxy, inbox: Inbox) -> None:
    dialer = await publisher(proxy.url, SHORT).__aenter__()
    await proxy.cut()
    events = [dialer.events.call_placed(18) for _ in range(750)]
    futures = [dialer.submit(event) for event in events]
    with pytest.raises(DeadlineError, match=r"^750 events not published") as caught:
        await dialer.__aexit__(None, None, None)
    assert set(caught.value.events) == set(events)
    assert all(isinstance(future.exception(), DeadlineError) for future in futures)
    assert inbox.is_empty()


async def test_leaving_because_of_an_error_notes_what_was_undelivered(proxy: TcpProxy) -> None:
    futures = []

    async def dial() -> None:
        async with publisher(proxy.url, SHORT) as dialer:
            await proxy.cut()
            futures.append(dialer.submit(dialer.events.call_placed(18)))
            raise ValueError("the caller's own")

    with pytest.raises(ValueError, match="the caller's own") as caught:
        await dial()
    assert "1 event not published" in caught.value.__notes__[0]
    assert isinstance(futures[0].exception(), DeadlineError)


async def test_a_cancelled_exit_resolves_every_future(proxy: TcpProxy) -> None:
    futures = []

    async def dial() -> None:
        async with publisher(proxy.url) as dialer:
            await proxy.cut()
            futures.append(dialer.submit(dialer.events.call_placed(18)))

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(dial(), 0.3)
    assert isinstance(futures[0].exception(), ClosedError)


@pytest.mark.parametrize("batch_events", [1, 500])
async def test_an_event_without_an_answer_is_an_error_at_its_deadline(
    batch_events: int, proxy: TcpProxy, inbox: Inbox
) -> None:
    async with publisher(proxy.url, Limits(deadline_seconds=0.5, batch_events=batch_events)) as dialer:
        await inbox.open_channel_of(dialer)
        proxy.silence()
        loop = asyncio.get_running_loop()
        began, futures = loop.time(), []
        for caller_id in range(1, 51):
            futures.append(dialer.submit(dialer.events.call_placed(caller_id)))
            await asyncio.sleep(0)
        outcomes = await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), 10)
        assert all(isinstance(outcome, DeadlineError) for outcome in outcomes)
        assert loop.time() - began >= 0.5
        assert (dialer.confirmed, dialer.undelivered, dialer.outstanding) == (1, 50, 0)
        await proxy.drop()
        await asyncio.wait_for(_until_published(dialer, PublishError([dialer.events.call_placed(51)], "")), 10)


async def test_a_cancelled_exit_resolves_the_future_of_an_event_without_an_answer(
    proxy: TcpProxy, inbox: Inbox
) -> None:
    futures = []

    async def dial() -> None:
        async with publisher(proxy.url) as dialer:
            await inbox.open_channel_of(dialer)
            proxy.silence()
            futures.append(dialer.submit(dialer.events.call_placed(18)))

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(dial(), 1)
    assert isinstance(futures[0].exception(), ClosedError)


async def test_a_failure_that_was_raised_is_not_raised_again_on_leaving(proxy: TcpProxy) -> None:
    async with publisher(proxy.url, SHORT) as dialer:
        await proxy.cut()
        with pytest.raises(DeadlineError):
            await dialer.call_placed(18)


async def test_flush_confirms_or_raises(proxy: TcpProxy, inbox: Inbox) -> None:
    async with publisher(proxy.url, SHORT) as dialer:
        first = dialer.submit(dialer.events.call_placed(18))
        await dialer.flush()
        assert first.done()
        await proxy.cut()
        lost = dialer.events.call_placed(19)
        future = dialer.submit(lost)
        with pytest.raises(DeadlineError) as caught:
            await dialer.flush()
        assert caught.value.events == (lost,)
        assert isinstance(future.exception(), DeadlineError)
    assert len(await inbox.events(1)) == 1


async def test_entering_without_a_broker_is_an_error_at_the_deadline(proxy: TcpProxy) -> None:
    await proxy.cut()
    with pytest.raises(UnavailableError, match=r"^RabbitMQ at 127.0.0.1:\d+ does not answer: "):
        async with publisher(proxy.url, SHORT):
            pytest.fail("it must not be entered")


async def test_entering_waits_for_a_broker_that_starts(proxy: TcpProxy, inbox: Inbox) -> None:
    await proxy.cut()
    dialer = publisher(proxy.url)
    entering = asyncio.create_task(dialer.__aenter__())
    await asyncio.sleep(0.1)
    await proxy.mend()
    await asyncio.wait_for(entering, 10)
    await dialer.call_placed(18)
    await dialer.__aexit__(None, None, None)
    assert len(await inbox.events(1)) == 1


async def test_a_refused_login_is_an_error_at_once(broker_url: str) -> None:
    wrong = urlsplit(broker_url)
    wrong = wrong._replace(netloc=f"nobody:wrong@{wrong.netloc.rpartition('@')[2]}")
    with pytest.raises(RefusedError, match="ACCESS_REFUSED"):
        async with publisher(wrong.geturl()):
            pytest.fail("it must not be entered")


async def test_an_unknown_virtual_host_is_an_error_at_once(broker_url: str) -> None:
    with pytest.raises(RefusedError, match="the virtual host does not exist"):
        async with publisher(urlsplit(broker_url)._replace(path="/nowhere").geturl()):
            pytest.fail("it must not be entered")


async def test_an_event_that_no_log_takes_until_the_deadline_is_an_error(broker_url: str) -> None:
    async with open_inbox(broker_url):
        pass
    async with publisher(broker_url, SHORT) as dialer:
        with pytest.raises(UnroutableError, match=r"no log took call-placed\.7 within 0\.5 s \(NO_ROUTE") as caught:
            await dialer.call_placed(18)
        assert len(caught.value.events) == 1
        futures = [dialer.submit(dialer.events.cooldown_cleared(18)) for _ in range(2)]
        with pytest.raises(UnroutableError, match=r"^2 events not published"):
            await dialer.flush()
        assert all(isinstance(future.exception(), UnroutableError) for future in futures)
        async with open_inbox(broker_url) as inbox:
            await dialer.call_placed(18)
            await inbox.events(1)


async def test_without_the_exchange_an_event_is_unroutable(broker_url: str) -> None:
    async with await aio_pika.connect(broker_url) as connection:
        await (await connection.channel()).exchange_delete(EXCHANGE)
    async with publisher(broker_url, SHORT) as dialer:
        with pytest.raises(UnroutableError, match=r"no exchange 'rotary\.events'"):
            await dialer.call_placed(18)


async def test_a_refused_routing_key_is_an_error_and_other_keys_go_on(broker_url: str, inbox: Inbox) -> None:
    with private_user(broker_url, r"^call-placed[.]7$") as own:
        async with publisher(own) as dialer:
            placing = [asyncio.create_task(dialer.call_placed(18)) for _ in range(20)]
            flagging = asyncio.create_task(dialer.carrier_flag(18, "blocked"))
            with pytest.raises(RefusedError, match=r"ACCESS_REFUSED .*'carrier-flag\.7'.* refused") as caught:
                await flagging
            assert [event.data.caller_id_id for event in caught.value.events] == [18]
            placed = await asyncio.gather(*placing)
            await dialer.call_placed(18)
        await inbox.until({event.id for event in placed})
        async with publisher(own, customer_id=8) as stranger:
            with pytest.raises(RefusedError, match=r"'call-placed\.8'"):
                await stranger.call_placed(18)
    assert inbox.is_empty() or all(event["type"] == "call-placed" for event in await inbox.events(1))


async def test_while_the_broker_is_out_of_memory_a_publish_waits_until_its_deadline(
    broker_url: str, inbox: Inbox
) -> None:
    async with publisher(broker_url, Limits(deadline_seconds=2)) as dialer:
        with memory_alarm():
            with pytest.raises(DeadlineError) as caught:
                await dialer.call_placed(18)
            last = asyncio.create_task(dialer.call_placed(19))
        late = await asyncio.wait_for(_outcome(last), 10)
        await asyncio.wait_for(_until_published(dialer, caught.value), 10)
    assert late is None
    await inbox.until({event.id for event in caught.value.events} | {last.result().id})


async def test_what_waits_while_the_broker_is_out_of_memory_is_not_sent_after_its_deadline(
    proxy: TcpProxy, inbox: Inbox
) -> None:
    blocked = proxy.notice(CONNECTION_BLOCKED)
    async with publisher(proxy.url, Limits(deadline_seconds=2)) as dialer:
        await inbox.open_channel_of(dialer)
        with memory_alarm():
            first = dialer.submit(dialer.events.call_placed(1))
            await asyncio.wait_for(blocked.wait(), 10)
            late = [dialer.events.call_placed(18) for _ in range(50)]
            outcomes = await asyncio.gather(*map(dialer.submit, late), return_exceptions=True)
            assert all(isinstance(outcome, DeadlineError) for outcome in outcomes)
        await asyncio.wait([first])
        last = dialer.events.call_placed(19)
        await asyncio.wait_for(_until_published(dialer, PublishError([last], "")), 10)
        seen = await inbox.until({last.id})
    assert not {event.id for event in late} & set(seen)


async def _outcome(task: "asyncio.Task[object]") -> BaseException | None:
    await asyncio.wait([task])
    return task.exception()


async def test_a_full_queue_that_rejects_is_tried_again(broker_url: str) -> None:
    async with open_inbox(broker_url), await aio_pika.connect(broker_url) as connection:
        channel = await connection.channel()
        narrow = await channel.declare_queue(
            exclusive=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"}
        )
        await narrow.bind(EXCHANGE, "#")
        async with publisher(broker_url) as dialer:
            while True:
                placing = asyncio.create_task(dialer.call_placed(18))
                done, _ = await asyncio.wait([placing], timeout=0.5)
                if not done:
                    break
            await narrow.purge()
            await asyncio.wait_for(placing, 10)


async def test_the_declared_topology_takes_every_type(broker_url: str) -> None:
    async with await aio_pika.connect(broker_url) as connection:
        channel = await connection.channel()
        await topology.declare(channel)
        async with publisher(broker_url) as dialer:
            await asyncio.gather(
                dialer.call_placed(18), dialer.carrier_flag(18, "spam_label"), dialer.cooldown_cleared(18)
            )
        keys = set()
        for log in topology.default_logs():
            async with open_log(broker_url, log.queue, "first") as consumer:
                keys |= {delivery.routing_key for delivery in await consumer.take(10)}
            await channel.queue_delete(log.queue)
        await channel.queue_delete(topology.PARKED)
    assert keys == {"call-placed.7", "carrier-flag.7", "cooldown-cleared.7"}


async def test_each_failure_is_logged_even_if_its_future_is_ignored(
    proxy: TcpProxy, caplog: pytest.LogCaptureFixture
) -> None:
    async with publisher(proxy.url, SHORT) as dialer:
        await proxy.cut()
        with caplog.at_level(logging.WARNING, "rotary.publisher"), pytest.raises(DeadlineError):
            await dialer.call_placed(18)
    assert "1 event not published: not confirmed within 0.5 s" in caplog.text


async def test_an_outage_is_logged_in_few_lines_however_many_messages_fail(
    proxy: TcpProxy, caplog: pytest.LogCaptureFixture
) -> None:
    async with publisher(proxy.url, Limits(deadline_seconds=0.5, batch_events=1)) as dialer:
        await proxy.cut()
        futures = [dialer.submit(dialer.events.call_placed(18)) for _ in range(500)]
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
    assert all(isinstance(outcome, DeadlineError) for outcome in outcomes)
    told = [record.getMessage() for record in caplog.records if "not published" in record.getMessage()]
    assert len(told) < 10
    assert sum(int(line.split()[0]) for line in told) == 500


# basic.ack on channel 1 of the first publish, alone.
FIRST_ACK = bytes.fromhex("01 0001 0000000d 003c 0050 0000000000000001 00 ce")


@pytest.mark.parametrize("later", [0, 1], ids=["nothing else is published", "later events are confirmed"])
async def test_an_event_that_is_neither_confirmed_nor_returned_is_published_again(
    later: int, proxy: TcpProxy, inbox: Inbox
) -> None:
    async with publisher(proxy.url, Limits(batch_events=1)) as dialer:
        proxy.swallow(FIRST_ACK)
        placing = asyncio.create_task(dialer.call_placed(18))
        (unanswered,) = await inbox.events(1)
        for _ in range(later):
            await dialer.call_placed(19)
            await inbox.events(1)
        event = await asyncio.wait_for(placing, 20)
        (again,) = await inbox.events(1)
    assert unanswered == again
    assert again["id"] == event.id
    assert proxy.accepted == 1
