"""A returned message is published again until the deadline, and every confirmed event is stored.

An event that is stored twice keeps its identity.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest
from aio_pika.abc import AbstractChannel

from integration.log_stream import STREAM, declare_exchange, declare_stream, open_channel, stored_ids, unbind
from integration.tcp_proxy import TcpProxy
from rotary.events import EXCHANGE
from rotary.publisher import Event, Limits, Publisher, PublishError

BASIC_RETURN = b"\x00\x3c\x00\x32"
CHANNEL_CLOSE = b"\x00\x14\x00\x28"


@pytest.fixture
async def channel(broker_url: str) -> AsyncIterator[AbstractChannel]:
    """Where there is neither exchange nor log yet."""
    async with open_channel(broker_url) as opened:
        yield opened
    async with open_channel(broker_url) as another:
        await another.queue_delete(STREAM)
        await another.exchange_delete(EXCHANGE)


async def missing(channel: AbstractChannel) -> None:
    await declare_exchange(channel)
    await channel.queue_delete(STREAM)


async def unbound(channel: AbstractChannel) -> None:
    await declare_exchange(channel)
    await declare_stream(channel)
    await unbind(channel)


async def without_exchange(channel: AbstractChannel) -> None:
    await channel.exchange_delete(EXCHANGE)


@pytest.mark.parametrize("batch_events", [1, 50])
@pytest.mark.parametrize(
    ("state", "refusal"), [(missing, BASIC_RETURN), (unbound, BASIC_RETURN), (without_exchange, CHANNEL_CLOSE)]
)
async def test_events_that_no_log_takes_wait_until_one_does(
    state: Callable[[AbstractChannel], Awaitable[None]],
    refusal: bytes,
    batch_events: int,
    channel: AbstractChannel,
    proxy: TcpProxy,
) -> None:
    await state(channel)
    async with publisher(proxy.url, batch_events) as dialer:
        refused = proxy.notice(refusal)
        events, futures = submitted(dialer, 400)
        await asyncio.wait_for(refused.wait(), 10)
        assert dialer.confirmed == 0
        await declare_exchange(channel)
        await declare_stream(channel)
        await asyncio.wait_for(asyncio.gather(*futures), 20)
        last = await dialer.call_placed(18)
    assert set(await stored_ids(channel, last.id)) == {event.id for event in [*events, last]}
    # A missing exchange closes the channel. What is written to it after that would close the connection.
    assert proxy.accepted == 1


async def test_deadlines_during_returns_leave_the_publisher_working(channel: AbstractChannel, proxy: TcpProxy) -> None:
    await missing(channel)
    limits = Limits(batch_events=1, deadline_seconds=0.5)  # in which it is also to be opened, on a busy machine
    async with Publisher(proxy.url, customer_id=7, source="/dialers/hcm-1", limits=limits) as dialer:
        waiting = []
        for _ in range(10):  # deadlines pass one after the other, while others are returned
            waiting += submitted(dialer, 300)[1]
            await asyncio.sleep(0.05)
        await asyncio.gather(*waiting, return_exceptions=True)
        await declare_stream(channel)
        await asyncio.wait_for(_until_confirmed(dialer), 10)
    assert proxy.accepted == 1


async def _until_confirmed(dialer: Publisher) -> None:
    while not dialer.confirmed:
        with suppress(PublishError):
            await dialer.call_placed(18)


async def test_a_log_that_is_unbound_and_bound_again_has_every_confirmed_event(
    channel: AbstractChannel, proxy: TcpProxy
) -> None:
    await declare_exchange(channel)
    await declare_stream(channel)
    async with publisher(proxy.url, 10) as dialer:
        events, futures = submitted(dialer, 400)
        for _ in range(3):
            returned = proxy.notice(BASIC_RETURN)
            await unbind(channel)
            while not returned.is_set():
                more, waiting = submitted(dialer, 50)
                events += more
                futures += waiting
                await asyncio.sleep(0.001)
            await declare_stream(channel)
        await asyncio.wait_for(asyncio.gather(*futures), 20)
        last = await dialer.call_placed(18)
        assert (dialer.confirmed, dialer.undelivered) == (len(events) + 1, 0)
    assert set(await stored_ids(channel, last.id)) == {event.id for event in [*events, last]}


def publisher(broker_url: str, batch_events: int) -> Publisher:
    return Publisher(broker_url, customer_id=7, source="/dialers/hcm-1", limits=Limits(batch_events=batch_events))


def submitted(dialer: Publisher, count: int) -> tuple[list[Event], list[asyncio.Future[None]]]:
    events: list[Event] = [dialer.events.call_placed(18) for _ in range(count)]
    return events, [dialer.submit(event) for event in events]
