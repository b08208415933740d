"""The publisher for dialers without asyncio behaves as the asynchronous one.

The blocking calls run in threads, because the event loop of the test runs the proxy and the inbox.
"""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from integration.inbox import Inbox
from integration.tcp_proxy import TcpProxy
from rotary.errors import EventRefusedError, UnavailableError
from rotary.events import CallPlaced
from rotary.publisher import (
    BacklogFullError,
    BlockingPublisher,
    ClosedError,
    DeadlineError,
    Limits,
)

SOURCE = "/dialers/hcm-1"
SHORT = Limits(deadline_seconds=0.5)


def publisher(broker_url: str, limits: Limits | None = None) -> BlockingPublisher:
    return BlockingPublisher(broker_url, customer_id=7, source=SOURCE, limits=limits or Limits())


async def test_each_method_returns_the_confirmed_event(broker_url: str, inbox: Inbox) -> None:
    def dial() -> list[str]:
        with publisher(broker_url) as dialer:
            events = [
                dialer.call_placed(18, group_id=3, lead_id="L-991", pick_id="01JD-18"),
                dialer.carrier_flag(18, "user_report"),
                dialer.cooldown_cleared(18),
            ]
            assert (dialer.confirmed, dialer.undelivered, dialer.outstanding) == (3, 0, 0)
            return [event.id for event in events]

    ids = await asyncio.to_thread(dial)
    arrived = await inbox.events(3)
    assert [event["id"] for event in arrived] == ids
    assert [event["type"] for event in arrived] == ["call-placed", "carrier-flag", "cooldown-cleared"]
    assert arrived[0]["data"] == {"caller_id_id": 18, "group_id": 3, "lead_id": "L-991", "pick_id": "01JD-18"}


async def test_many_threads_share_one_publisher(broker_url: str, inbox: Inbox) -> None:
    def dial() -> set[str]:
        with publisher(broker_url) as dialer, ThreadPoolExecutor(16) as threads:
            placed: Iterator[CallPlaced] = threads.map(dialer.call_placed, [18] * 800)
            return {event.id for event in placed}

    ids = await asyncio.to_thread(dial)
    assert len(ids) == 800
    assert sorted(await inbox.until(ids)) == sorted(ids)


async def test_leaving_delivers_what_was_submitted(broker_url: str, inbox: Inbox) -> None:
    def dial() -> list[Future[None]]:
        with publisher(broker_url, Limits(batch_seconds=60)) as dialer:
            return [dialer.submit(dialer.events.call_placed(18)) for _ in range(750)]

    futures = await asyncio.to_thread(dial)
    assert all(future.done() and future.exception() is None for future in futures)
    assert len(await inbox.events(750)) == 750


async def test_leaving_reports_everything_that_could_not_be_delivered(proxy: TcpProxy) -> None:
    dialer = await asyncio.to_thread(publisher(proxy.url, SHORT).__enter__)
    await proxy.cut()
    events = [dialer.events.call_placed(18) for _ in range(30)]
    futures = [dialer.submit(event) for event in events]
    with pytest.raises(DeadlineError, match=r"^30 events not published") as caught:
        await asyncio.to_thread(dialer.__exit__, None, None, None)
    assert set(caught.value.events) == set(events)
    assert all(isinstance(future.exception(), DeadlineError) for future in futures)
    assert dialer.undelivered == 30


async def test_past_the_deadline_the_error_carries_the_event(proxy: TcpProxy) -> None:
    dialer = await asyncio.to_thread(publisher(proxy.url, SHORT).__enter__)
    await proxy.cut()
    event = dialer.events.call_placed(18)
    with pytest.raises(DeadlineError) as caught:
        await asyncio.to_thread(dialer.publish, event)
    assert caught.value.events == (event,)
    await asyncio.to_thread(dialer.__exit__, None, None, None)


async def test_flush_confirms_what_was_submitted(broker_url: str, inbox: Inbox) -> None:
    def dial() -> bool:
        with publisher(broker_url) as dialer:
            future = dialer.submit(dialer.events.call_placed(18))
            dialer.flush()
            return future.done()

    assert await asyncio.to_thread(dial)
    assert len(await inbox.events(1)) == 1


async def test_submit_at_the_limit_raises_or_waits_as_when_full_says(proxy: TcpProxy, inbox: Inbox) -> None:
    raising = await asyncio.to_thread(publisher(proxy.url, Limits(outstanding_events=1, when_full="raise")).__enter__)
    waiting = await asyncio.to_thread(publisher(proxy.url, Limits(outstanding_events=1)).__enter__)
    for dialer in (raising, waiting):
        # Its channel is opened for the first event, which needs an answer.
        await asyncio.to_thread(dialer.call_placed, 1)
        await inbox.events(1)
    proxy.silence()
    first = [dialer.submit(dialer.events.call_placed(18)) for dialer in (raising, waiting)]
    surplus = raising.events.call_placed(19)
    with pytest.raises(BacklogFullError) as caught:
        raising.submit(surplus)
    assert caught.value.events == (surplus,)
    second = asyncio.create_task(asyncio.to_thread(waiting.call_placed, 20))
    await inbox.events(2)
    assert not second.done()
    await proxy.mend()
    await asyncio.wait_for(second, 10)
    assert [future.result(10) for future in first] == [None, None]
    for dialer in (raising, waiting):
        await asyncio.to_thread(dialer.__exit__, None, None, None)


async def test_waiting_at_the_limit_ends_at_the_deadline(proxy: TcpProxy) -> None:
    dialer = await asyncio.to_thread(publisher(proxy.url, Limits(outstanding_events=1, deadline_seconds=0.5)).__enter__)
    proxy.silence()
    first = dialer.submit(dialer.events.call_placed(18))
    with ThreadPoolExecutor(8) as threads:
        outcomes = [threads.submit(dialer.call_placed, 19) for _ in range(8)]
    assert all(isinstance(outcome.exception(), DeadlineError) for outcome in outcomes)
    assert isinstance(first.exception(), DeadlineError)
    await proxy.mend()
    await asyncio.to_thread(dialer.__exit__, None, None, None)


async def test_entering_without_a_broker_is_an_error(proxy: TcpProxy) -> None:
    await proxy.cut()
    with pytest.raises(UnavailableError, match="does not answer"):
        await asyncio.to_thread(publisher(proxy.url, SHORT).__enter__)


async def test_errors_are_raised_in_the_calling_thread(broker_url: str, inbox: Inbox) -> None:
    dialer = publisher(broker_url)
    with pytest.raises(ClosedError):
        dialer.submit(dialer.events.call_placed(18))
    await asyncio.to_thread(dialer.__enter__)
    with pytest.raises(EventRefusedError):
        dialer.submit(dialer.events.call_placed(0))
    await asyncio.to_thread(dialer.__exit__, None, None, None)
    with pytest.raises(ClosedError):
        dialer.submit(dialer.events.call_placed(18))
    assert inbox.is_empty()
