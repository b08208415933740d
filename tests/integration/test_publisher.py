"""The messages that the publisher sends to a real broker, its batching, and its limits."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from itertools import count

import pytest

from integration.inbox import Inbox, events_of
from integration.tcp_proxy import TcpProxy
from rotary.errors import ConfigurationError, EventRefusedError
from rotary.events import EVENT_CONTENT_TYPE, MAX_MESSAGE_BYTES, CallPlaced
from rotary.publisher import BacklogFullError, ClosedError, EventFactory, Limits, Publisher
from rotary.publisher.event_factory import TimeOrderedIds

NOON_MS = 1_780_747_140_123
SOURCE = "/dialers/hcm-1"


def publisher(broker_url: str, limits: Limits | None = None) -> Publisher:
    return Publisher(broker_url, customer_id=7, source=SOURCE, limits=limits or Limits(), clock=lambda: NOON_MS)


async def test_a_confirmed_call_has_arrived_as_a_cloud_event(broker_url: str, inbox: Inbox) -> None:
    async with publisher(broker_url) as dialer:
        event = await dialer.call_placed(caller_id_id=18, group_id=3, lead_id="L-991", pick_id="01JD-18")
    message = await inbox.message()
    assert (message.exchange, message.routing_key) == ("rotary.events", "call-placed.7")
    assert (message.content_type, message.delivery_mode) == (EVENT_CONTENT_TYPE, 2)
    assert json.loads(message.body) == {
        "specversion": "1.0",
        "id": event.id,
        "source": "/dialers/hcm-1",
        "type": "call-placed",
        "time": "2026-06-06T11:59:00.123000Z",
        "data": {"caller_id_id": 18, "group_id": 3, "lead_id": "L-991", "pick_id": "01JD-18"},
    }


async def test_each_type_has_its_routing_key_and_its_data(broker_url: str, inbox: Inbox) -> None:
    at = datetime(2026, 6, 6, 19, 0, tzinfo=timezone(timedelta(hours=7)))
    async with publisher(broker_url) as dialer:
        await dialer.carrier_flag(18, "spam_label", carrier="viettel", code=603, note="seen", time=at, event_id="f-1")
        await dialer.cooldown_cleared(18, time=at, event_id="c-1")
    flag, clear = await inbox.message(), await inbox.message()
    assert flag.routing_key == "carrier-flag.7"
    assert json.loads(flag.body)["data"] == {
        "caller_id_id": 18,
        "kind": "spam_label",
        "carrier": "viettel",
        "code": 603,
        "note": "seen",
    }
    assert clear.routing_key == "cooldown-cleared.7"
    event = json.loads(clear.body)
    assert (event["id"], event["data"]) == ("c-1", {"caller_id_id": 18})
    assert datetime.fromisoformat(event["time"]) == at


def test_ids_grow_in_time_and_when_the_clock_stands_or_steps_back() -> None:
    ids = TimeOrderedIds()
    made = [ids.next(ms) for ms in [1, 1, 1, 2, 1, 5, 4, 5, NOON_MS] + [NOON_MS] * 10_000]
    assert made == sorted(set(made))
    assert {(text[14], text[19] in "89ab") for text in made} == {("7", True)}


def test_two_processes_never_make_the_same_id() -> None:
    one, other = TimeOrderedIds(), TimeOrderedIds()
    assert not {one.next(NOON_MS) for _ in range(1000)} & {other.next(NOON_MS) for _ in range(1000)}


def test_threads_never_make_the_same_id_and_each_makes_growing_ones() -> None:
    ids, ticks = TimeOrderedIds(), count()
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: [ids.next(NOON_MS + next(ticks) // 50) for _ in range(5_000)], range(4)))
    assert all(own == sorted(own) for own in made)
    assert len({one for own in made for one in own}) == 20_000


def test_the_default_time_is_now_in_utc() -> None:
    before = datetime.now(UTC)
    event = EventFactory(SOURCE).call_placed(18)
    assert before - timedelta(milliseconds=1) <= event.time <= datetime.now(UTC)
    assert event.time.utcoffset() == timedelta(0)


async def test_events_submitted_together_share_messages(broker_url: str, inbox: Inbox) -> None:
    async with publisher(broker_url) as dialer:
        events = [dialer.events.call_placed(18, lead_id=str(number)) for number in range(1_200)]
        futures = [dialer.submit(event) for event in events]
        await asyncio.gather(*futures)
        assert (dialer.confirmed, dialer.outstanding) == (1_200, 0)
    batches = [events_of(await inbox.message()) for _ in range(3)]
    assert sorted(map(len, batches)) == [200, 500, 500]
    assert {event["id"] for batch in batches for event in batch} == {event.id for event in events}
    assert inbox.is_empty()


async def test_types_do_not_share_a_message(broker_url: str, inbox: Inbox) -> None:
    async with publisher(broker_url) as dialer:
        for _ in range(3):
            dialer.submit(dialer.events.call_placed(18))
            dialer.submit(dialer.events.cooldown_cleared(18))
    by_key = {message.routing_key: events_of(message) for message in [await inbox.message(), await inbox.message()]}
    assert {key: {event["type"] for event in events} for key, events in by_key.items()} == {
        "call-placed.7": {"call-placed"},
        "cooldown-cleared.7": {"cooldown-cleared"},
    }
    assert [len(events) for events in by_key.values()] == [3, 3]


async def test_a_message_stays_within_one_mebibyte(broker_url: str, inbox: Inbox) -> None:
    async with publisher(broker_url, Limits(batch_events=1000)) as dialer:
        for _ in range(1000):
            dialer.submit(dialer.events.carrier_flag(18, "blocked", note="x" * 2000))
    first, second, third = [await inbox.message() for _ in range(3)]
    assert max(len(message.body) for message in (first, second, third)) <= MAX_MESSAGE_BYTES
    assert len(first.body) > MAX_MESSAGE_BYTES - 2300
    assert sum(len(events_of(message)) for message in (first, second, third)) == 1000


async def test_a_quiet_dialer_does_not_wait_for_a_batch(broker_url: str, inbox: Inbox) -> None:
    async with publisher(broker_url, Limits(batch_seconds=60)) as dialer:
        await asyncio.wait_for(dialer.call_placed(18), 10)
        await asyncio.wait_for(dialer.call_placed(19), 10)
    assert [len(events_of(await inbox.message())) for _ in range(2)] == [1, 1]


async def test_a_busy_dialer_gathers_events_for_batch_seconds(proxy: TcpProxy, inbox: Inbox) -> None:
    loop = asyncio.get_running_loop()
    async with publisher(proxy.url, Limits(batch_seconds=0.3)) as dialer:
        await inbox.open_channel_of(dialer)
        proxy.silence()
        dialer.submit(dialer.events.call_placed(18))
        assert len(events_of(await inbox.message())) == 1
        began = loop.time()
        for _ in range(5):
            dialer.submit(dialer.events.call_placed(18))
            await asyncio.sleep(0)
        assert len(events_of(await inbox.message())) == 5
        assert loop.time() - began >= 0.29
        await proxy.mend()


async def test_batch_events_1_sends_one_event_per_message(broker_url: str, inbox: Inbox) -> None:
    async with publisher(broker_url, Limits(batch_events=1)) as dialer:
        await asyncio.gather(*(dialer.call_placed(18) for _ in range(20)))
    assert [len(events_of(await inbox.message())) for _ in range(20)] == [1] * 20


async def test_a_publisher_needs_no_configure_permission(broker_url: str, inbox: Inbox) -> None:
    """It declares nothing, so that it works for a user without that permission."""
    async with publisher(broker_url) as dialer:
        await dialer.call_placed(18)
    assert len(await inbox.events(1)) == 1


@pytest.mark.parametrize("bound", [1, 7])
async def test_publishing_waits_at_the_limit_of_outstanding_events(proxy: TcpProxy, inbox: Inbox, bound: int) -> None:
    async with publisher(proxy.url, Limits(outstanding_events=bound)) as dialer:
        await inbox.open_channel_of(dialer)
        proxy.silence()
        waiting = [asyncio.create_task(dialer.call_placed(18)) for _ in range(20)]
        await inbox.events(bound)
        assert dialer.outstanding == bound
        assert inbox.is_empty()
        await proxy.mend()
        placed = await asyncio.gather(*waiting)
        assert dialer.outstanding == 0
    assert {event["id"] for event in await inbox.events(20 - bound)} < {event.id for event in placed}


async def test_publishing_raises_at_the_limit_with_when_full_raise(proxy: TcpProxy, inbox: Inbox) -> None:
    async with publisher(proxy.url, Limits(outstanding_events=2, when_full="raise")) as dialer:
        proxy.silence()
        accepted = [dialer.submit(dialer.events.call_placed(18)) for _ in range(2)]
        surplus = dialer.events.call_placed(19)
        with pytest.raises(BacklogFullError, match="1 event not published: 2 events are outstanding") as caught:
            await dialer.publish(surplus)
        assert caught.value.events == (surplus,)
        await proxy.mend()
        await asyncio.gather(*accepted)
        await dialer.publish(surplus)
    assert len(await inbox.events(3)) == 3


async def test_submit_raises_at_the_limit_and_wait_for_capacity_waits(proxy: TcpProxy, inbox: Inbox) -> None:
    async with publisher(proxy.url, Limits(outstanding_events=1)) as dialer:
        await inbox.open_channel_of(dialer)
        proxy.silence()
        dialer.submit(dialer.events.call_placed(18))
        with pytest.raises(BacklogFullError):
            dialer.submit(dialer.events.call_placed(18))
        capacity = asyncio.create_task(dialer.wait_for_capacity())
        await inbox.events(1)
        assert not capacity.done()
        await proxy.mend()
        await asyncio.wait_for(capacity, 10)
        dialer.submit(dialer.events.call_placed(18))


async def test_a_cancelled_wait_for_capacity_takes_no_slot(proxy: TcpProxy, inbox: Inbox) -> None:
    async with publisher(proxy.url, Limits(outstanding_events=1)) as dialer:
        proxy.silence()
        dialer.submit(dialer.events.call_placed(18))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(dialer.call_placed(18), 0.05)
        await proxy.mend()
        await asyncio.wait_for(dialer.call_placed(18), 10)
        assert dialer.outstanding == 0
    assert len(await inbox.events(2)) == 2


async def test_leaving_delivers_what_was_submitted(broker_url: str, inbox: Inbox) -> None:
    async with publisher(broker_url, Limits(batch_seconds=60)) as dialer:
        futures = [dialer.submit(dialer.events.call_placed(18)) for _ in range(750)]
    assert all(future.done() and future.exception() is None for future in futures)
    assert len(await inbox.events(750)) == 750


async def test_cancelling_a_future_does_not_recall_its_event(broker_url: str, inbox: Inbox) -> None:
    async with publisher(broker_url) as dialer:
        given_up, kept = (dialer.submit(dialer.events.call_placed(18)) for _ in range(2))
        given_up.cancel()
        await kept
        assert dialer.confirmed == 2
    assert len(await inbox.events(2)) == 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"caller_id_id": 0}, "`int` >= 1"),
        ({"caller_id_id": 2**63}, "`int` <= 9223372036854775807"),
        ({"caller_id_id": 18, "lead_id": "x" * 201}, "length <= 200"),
        ({"caller_id_id": 18, "event_id": "x" * 201}, "length <= 200"),
        ({"caller_id_id": 18, "time": datetime(2026, 6, 6)}, "time"),  # noqa: DTZ001 - what is refused
        ({"caller_id_id": "18"}, "Expected `int`, got `str`"),
    ],
)
async def test_an_event_that_the_consumer_would_park_is_refused_before_it_is_sent(
    broker_url: str, inbox: Inbox, arguments: dict[str, int], reason: str
) -> None:
    async with publisher(broker_url) as dialer:
        with pytest.raises(EventRefusedError, match=reason):
            await dialer.call_placed(**arguments)  # type: ignore[arg-type]  # what is tested
        assert dialer.outstanding == 0
    assert inbox.is_empty()


async def test_a_publisher_that_is_not_open_accepts_nothing(broker_url: str, inbox: Inbox) -> None:
    dialer = publisher(broker_url)
    event = dialer.events.call_placed(18)
    with pytest.raises(ClosedError, match="not open"):
        dialer.submit(event)
    async with dialer:
        await dialer.publish(event)
    with pytest.raises(ClosedError) as caught:
        await dialer.publish(event)
    assert caught.value.events == (event,)
    assert len(await inbox.events(1)) == 1


@pytest.mark.parametrize(
    "limits",
    [
        {"batch_events": 1001},
        {"batch_events": 0},
        {"batch_seconds": -1},
        {"deadline_seconds": 0},
        {"outstanding_events": 0},
        {"when_full": "block"},
    ],
)
def test_limits_out_of_range_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(limits))):
        Limits(**limits)  # type: ignore[arg-type]  # what is tested


async def test_an_event_of_another_source_keeps_its_identity(broker_url: str, inbox: Inbox) -> None:
    event: CallPlaced = EventFactory("/legacy/asterisk").call_placed(18, event_id="uniqueid-1")
    async with publisher(broker_url) as dialer:
        await dialer.publish(event)
    (arrived,) = await inbox.events(1)
    assert (arrived["source"], arrived["id"]) == ("/legacy/asterisk", "uniqueid-1")
