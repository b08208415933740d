"""What a confirm guarantees, and what the publisher logs, while a real broker is killed and restarted."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager

import pytest

from integration.log_stream import declare_exchange, declare_stream, open_channel, stored_ids
from integration.private_stack import private_stack
from rotary.publisher import Event, Limits, Publisher
from rotary_stack.control.client import send
from rotary_stack.control.messages import Action, Request

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def own() -> Iterator[Mapping[str, str]]:
    """The variables of a stack of our own, whose broker is ours to kill."""
    with private_stack() as variables:
        yield variables


@pytest.fixture(scope="module")
def url(own: Mapping[str, str]) -> str:
    """The broker's, with a log on it."""
    found = own["ROTARY_RABBITMQ_URL"]

    async def declare() -> None:
        async with open_channel(found) as channel:
            await declare_exchange(channel)
            await declare_stream(channel)

    asyncio.run(declare())
    # RabbitMQ writes a new stream down late: a kill before that leaves one that never starts. A clean stop does not.
    send(Request("restart", "rabbitmq"), own)
    return found


async def control(own: Mapping[str, str], *actions: Action) -> None:
    for action in actions:
        await asyncio.to_thread(send, Request(action, "rabbitmq", empty=False), own)


@asynccontextmanager
async def dialing(dialer: Publisher, events: list[Event]) -> AsyncIterator[None]:
    """Publishes about 200 events a second inside the block; afterwards every one is confirmed."""
    futures: list[asyncio.Future[None]] = []

    async def dial() -> None:
        while True:
            event = dialer.events.call_placed(18)
            events.append(event)
            futures.append(dialer.submit(event))
            await asyncio.sleep(0.005)

    task = asyncio.create_task(dial())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert await asyncio.gather(*futures, return_exceptions=True) == [None] * len(futures)


def publisher(url: str) -> Publisher:
    return Publisher(url, customer_id=7, source="/dialers/hcm-1", limits=Limits(batch_events=5, deadline_seconds=60))


async def test_a_stream_has_every_confirmed_event_after_kills_and_restarts_of_the_broker(
    own: Mapping[str, str], url: str, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[Event] = []
    rounds: tuple[tuple[Action, ...], ...] = (("kill", "start"), ("restart",), ("kill", "start"))
    async with publisher(url) as dialer:
        async with dialing(dialer, events):
            for actions in rounds:
                before = dialer.confirmed
                await _confirmed(dialer, before + 20)
                await control(own, *actions)
                await _confirmed(dialer, before + 100)
        last = await dialer.call_placed(18)
    lost = [record for record in caplog.records if record.getMessage().startswith("lost the connection")]
    assert len(lost) == len(rounds), "only the broker's own ends"
    async with open_channel(url) as channel:
        assert {event.id for event in events} <= set(await stored_ids(channel, last.id))


async def _confirmed(dialer: Publisher, count: int) -> None:
    async with asyncio.timeout(60):
        while dialer.confirmed < count:  # noqa: ASYNC110 - a counter has no event
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("actions", [("kill", "start"), ("restart",)])
async def test_a_lost_connection_is_two_lines_in_the_log(
    actions: tuple[Action, ...], own: Mapping[str, str], url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        async with publisher(url) as dialer, dialing(dialer, []):
            await control(own, *actions)
            await _confirmed(dialer, dialer.confirmed + 100)
    lost, back = [record for record in caplog.records if record.name != "asyncio" or record.levelno > logging.INFO]
    assert (lost.levelname, back.levelname) == ("WARNING", "INFO")
    assert lost.getMessage().startswith("lost the connection to RabbitMQ at 127.0.0.1:")
    assert "; reconnecting: " in lost.getMessage()
    assert back.getMessage().startswith("reconnected to RabbitMQ at 127.0.0.1:")
    assert not any(record.exc_info for record in caplog.records)


async def test_other_connections_of_the_process_keep_their_log(
    own: Mapping[str, str], url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with publisher(url), open_channel(url) as theirs:
        underlay = await theirs.get_underlay_channel()
        with caplog.at_level(logging.WARNING):
            await control(own, "restart")
            await asyncio.wait([asyncio.ensure_future(underlay.closing)], timeout=20)
    assert "aiormq.connection" in {record.name for record in caplog.records}
