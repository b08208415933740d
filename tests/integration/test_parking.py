"""Parking: what can't be folded is kept with the reason, delays nobody, and is kept again rather than lost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
import pytest
import pytest_asyncio
from aio_pika import Message
from aio_pika.abc import AbstractChannel, AbstractMessage

from amqp_wire import CONTENT_TYPE, DELIVERY_MODE, properties, raw_publisher, short
from histories import DAY, flagged, placed
from integration.consuming import Installation, now_ms
from integration.test_stream import ODD
from rotary.errors import UnavailableError
from rotary.events import BATCH_CONTENT_TYPE, EVENT_CONTENT_TYPE, EXCHANGE, encode_event
from rotary.rabbitmq.connection import channel
from rotary.rabbitmq.messages import Refused
from rotary.rabbitmq.topology import PARKED
from rotary.redis import keys
from rotary.runtime.program import cancel_and_wait
from rotary_consumer.broker_channels import BrokerChannels
from rotary_consumer.parking import MAX_BYTES, MAX_MESSAGES, Parking
from running import until

pytestmark = pytest.mark.asyncio(loop_scope="function")

CUSTOMER = 7
KEY = f"call-placed.{CUSTOMER}"


# Through a channel of its own


async def test_a_returned_message_costs_its_own_queue_a_new_channel_and_no_other(rabbitmq_url: str) -> None:
    channels = BrokerChannels(rabbitmq_url)
    running = asyncio.create_task(channels.run())
    try:
        async with channel(rabbitmq_url) as broker, channels.channel("there") as kept:
            await broker.declare_queue("there", exclusive=True)
            await kept.default_exchange.publish(Message(b"one"), "there")
        with pytest.raises(UnavailableError):
            async with channels.channel("nowhere") as lost:
                await lost.default_exchange.publish(Message(b"two"), "nowhere", mandatory=True)
        async with channels.channel("nowhere") as opened, channels.channel("there") as still:
            assert opened is not lost
            assert still is kept
        await until(closed(lost), 5, "the channel that was given up is closed")
    finally:
        await cancel_and_wait(running)


def closed(channel: AbstractChannel) -> Callable[[], Awaitable[bool]]:
    async def is_closed() -> bool:
        return channel.is_closed

    return is_closed


# Beside the fold


class LateBroker(BrokerChannels):
    """A broker that has every message at once and confirms when it is told to."""

    def __init__(self) -> None:
        super().__init__("amqp://nowhere")
        self.sent: list[int] = []
        self.confirms = asyncio.Event()
        self.is_away = False

    @asynccontextmanager
    async def channel(self, queue: str) -> AsyncIterator[AbstractChannel]:
        assert queue == PARKED
        if self.is_away:
            raise UnavailableError("RabbitMQ is away")
        yield cast("AbstractChannel", self)

    @property
    def default_exchange(self) -> "LateBroker":
        return self

    async def publish(self, message: AbstractMessage, key: str, **_: Any) -> None:
        assert key == PARKED
        self.sent.append(int(cast("int", message.headers["x-rotary-offset"])))
        await self.confirms.wait()


@pytest.fixture
def broker() -> LateBroker:
    return LateBroker()


@pytest_asyncio.fixture(loop_scope="function")
async def parking(broker: LateBroker) -> AsyncIterator[Parking]:
    made = Parking(broker, "calls.0", now_ms)
    yield made
    await made.close()


def refused(body: bytes = b"{}") -> Refused:
    return Refused(KEY, EVENT_CONTENT_TYPE, body, "not_decodable: odd", "not_decodable")


async def sent(broker: LateBroker, count: int) -> None:
    async def all_sent() -> bool:
        return len(broker.sent) == count

    await until(all_sent, 5, f"{count} messages are on their way")


async def test_parking_is_concurrent_and_nobody_waits_for_its_confirms(broker: LateBroker, parking: Parking) -> None:
    async with asyncio.timeout(5):
        for offset in range(100):
            await parking.submit(offset, refused())
    await sent(broker, 100)


async def test_only_what_is_confirmed_is_behind_the_mark(broker: LateBroker, parking: Parking) -> None:
    assert parking.parked_to(50) == 50
    await parking.submit(20, refused())
    await parking.submit(30, refused())
    assert parking.parked_to(50) == 20
    broker.confirms.set()

    async def all_parked() -> bool:
        return parking.parked_to(50) == 50

    await until(all_parked, 5, "both are confirmed")


async def test_what_is_on_its_way_is_not_sent_twice(broker: LateBroker, parking: Parking) -> None:
    """A log that is read again from an earlier position refuses the same again."""
    for _ in range(3):
        await parking.submit(7, refused())
    await parking.submit(7, refused(b"of another log that was made anew"))
    await sent(broker, 2)


@pytest.mark.parametrize(("count", "size"), [(MAX_MESSAGES, 2), (MAX_BYTES // 1_000_000 + 1, 1_000_000)])
async def test_what_waits_is_bounded_in_messages_and_bytes(
    broker: LateBroker, parking: Parking, count: int, size: int
) -> None:
    async def submit_all() -> None:
        for offset in range(count + 5):
            await parking.submit(offset, refused(b"x" * size))

    submitting = asyncio.create_task(submit_all())
    await sent(broker, count)
    done, _ = await asyncio.wait([submitting], timeout=0.1)
    assert not done
    assert len(broker.sent) == count
    broker.confirms.set()
    await asyncio.wait_for(submitting, 5)


async def test_a_broker_that_is_away_is_waited_for(broker: LateBroker, parking: Parking) -> None:
    broker.is_away = True
    broker.confirms.set()
    await parking.submit(1, refused())
    await asyncio.sleep(0.05)
    assert parking.parked_to(9) == 1
    broker.is_away = False

    async def is_parked() -> bool:
        return parking.parked_to(9) == 9

    await until(is_parked, 5, "it is parked")


async def test_closing_gives_up_what_is_unconfirmed_and_the_mark_stays_before_it(broker: LateBroker) -> None:
    parking = Parking(broker, "calls.0", now_ms)
    await parking.submit(3, refused())
    await sent(broker, 1)
    mark = parking.parked_to(9)
    await parking.close()
    assert mark == 3


# On real servers


async def define(made: Installation, *callers: int) -> None:
    """The customer has these caller IDs, and no event of another one is folded."""
    await made.postgres.execute(
        "INSERT INTO customers (id, name, policy) VALUES ($1, 'Saigon', $2::text::jsonb) ON CONFLICT DO NOTHING",
        CUSTOMER,
        '{"unknown_caller_ids_per_day": 0}',
    )
    for caller in callers:
        await made.postgres.execute(
            "INSERT INTO caller_ids (id, customer_id, number, carrier) VALUES ($1, $2, $3, 'viettel') "
            "ON CONFLICT DO NOTHING",
            caller,
            CUSTOMER,
            f"+8490{caller:07d}",
        )


async def known(made: Installation, *callers: int) -> None:
    """Returns once the definitions in Redis say so."""

    async def is_projected() -> bool:
        allowance = await made.redis.hget(keys.customer(CUSTOMER), "allowance")
        complete = await made.redis.hget(keys.definitions(keys.bucket_of(CUSTOMER)), "complete")
        found = [await made.redis.sismember(keys.callers(CUSTOMER), str(caller)) for caller in callers]
        return (allowance, complete) == (b"0", b"1") and all(found)

    await until(is_projected, 10, "the definitions are projected")


async def parked(made: Installation, count: int) -> list[str]:
    """The reasons, once so many messages are parked."""

    reasons = list[str]()

    async def all_parked() -> bool:
        # What is looked at is away from the queue until its channel is closed, so it is looked at once.
        reasons[:] = [one.reason for one in await made.parked()]
        return len(reasons) >= count

    await until(all_parked, 15, f"{count} messages are parked")
    return reasons


ODD_MESSAGES = [
    (KEY, b"", EVENT_CONTENT_TYPE, "not_decodable"),
    (KEY, b"\xff" * 300, EVENT_CONTENT_TYPE, "not_decodable"),
    (KEY, b"[" * 100_000, BATCH_CONTENT_TYPE, "not_decodable"),
    (KEY, b"[]" * 2, BATCH_CONTENT_TYPE, "not_decodable"),
    (KEY, encode_event(placed("1")), "text/\N{PILE OF POO}" * 8, "wrong_content_type"),
    (KEY, encode_event(placed("1")), "", "wrong_content_type"),
    ("call-placed.none", encode_event(placed("1")), EVENT_CONTENT_TYPE, "wrong_routing_key"),
    (KEY, encode_event(placed("1", now_ms() - 3 * DAY)), EVENT_CONTENT_TYPE, "out_of_window"),
    (KEY, encode_event(placed("1", now_ms() + DAY)), EVENT_CONTENT_TYPE, "out_of_window"),
    (KEY, encode_event(flagged("1", "blocked")), EVENT_CONTENT_TYPE, "wrong_routing_key"),
]


async def test_whatever_is_odd_is_parked_as_it_came_and_others_are_folded(installed: Installation) -> None:
    async with installed.consumer():
        await installed.caught_up()
        for number, (key, body, content_type, _) in enumerate(ODD_MESSAGES):
            await installed.publish_raw(key, body, content_type)
            await installed.publish(8, placed(f"{number}", now_ms()))
        await installed.caught_up()
        assert await installed.calls(8) == len(ODD_MESSAGES)
        reasons = await parked(installed, len(ODD_MESSAGES))
    assert sorted(reason.partition(":")[0] for reason in reasons) == sorted(word for *_, word in ODD_MESSAGES)
    rows = await installed.parked()
    assert {(row.log, row.bytes) for row in rows} == {("calls.0", len(body)) for _, body, _, _ in ODD_MESSAGES}
    assert len({row.offset for row in rows}) == len(ODD_MESSAGES)


async def test_a_bad_batch_is_one_message_with_every_index_and_the_good_in_it_are_folded(
    installed: Installation,
) -> None:
    await define(installed, 18)
    events = [
        encode_event(placed("0", now_ms())),
        b"0",
        encode_event(placed("2", now_ms() - 3 * DAY)),
        encode_event(placed("3", now_ms(), caller=99)),
        encode_event(placed("4", now_ms())),
    ]
    body = b"[" + b",".join(events) + b"]"
    async with installed.consumer():
        await installed.caught_up()
        await known(installed, 18)
        await installed.publish_raw(KEY, body, BATCH_CONTENT_TYPE)
        await installed.caught_up()
        [reason] = await parked(installed, 1)
    assert await installed.calls(CUSTOMER) == 2
    assert await installed.calls(CUSTOMER, 99) == 0
    for part in (
        "not_decodable: 1 of the batch, at 1",
        "out_of_window: 1 of the batch, at 2",
        "unknown_caller_id: 1 of the batch, at 3",
    ):
        assert part in reason


async def test_junk_delays_nobody(installed: Installation) -> None:
    """Forty batches of a thousand bad events: the next customer's call is folded as soon as any."""
    junk = b"[" + b",".join([b"0"] * 1000) + b"]"
    async with installed.consumer():
        await installed.caught_up()
        for _ in range(40):
            await installed.publish_raw(KEY, junk, BATCH_CONTENT_TYPE)
        await installed.publish(8, placed("1", now_ms()))

        async def is_folded() -> bool:
            return await installed.calls(8) == 1

        await until(is_folded, 3, "another customer's call is folded")
        assert len(await parked(installed, 40)) == 40, "one message each"


async def test_what_was_refused_and_not_parked_before_a_crash_is_parked_after_it(installed: Installation) -> None:
    """For whatever reason it was refused, also for one that only its time and place in the log tell."""
    await define(installed, 18)
    async with installed.consumer():
        await installed.caught_up()
        await known(installed, 18)
        before = await mark(installed)
        await installed.publish_raw(KEY, b"{", EVENT_CONTENT_TYPE)
        await installed.publish(CUSTOMER, placed("late", now_ms() - 3 * DAY), placed("good", now_ms()))
        # Six minutes ahead: acceptable to whoever judged it by the clock some minutes later.
        await installed.publish(
            CUSTOMER, placed("ahead", now_ms() + 6 * 60_000), placed("unknown", now_ms(), caller=99)
        )
        await installed.caught_up()
        first = sorted(await parked(installed, 4))
        facts = await installed.facts_by_caller(CUSTOMER, 18, 99)
        await until(lambda: has_moved(installed, before), 10, "all of it is noted as parked")
    await (await installed.broker.get_queue(PARKED, ensure=False)).purge()
    # As if the broker had confirmed none of them before the consumer died.
    await installed.redis.hset(keys.PARKED_TO, "calls.0", before)
    async with installed.consumer():
        await installed.caught_up()
        assert sorted(await parked(installed, 4)) == first
    assert await installed.facts_by_caller(CUSTOMER, 18, 99) == facts
    assert await installed.calls(CUSTOMER) == 1


async def mark(made: Installation) -> str:
    """Up to where all refusals of calls.0 are parked, with the marker in force there."""

    async def is_there() -> bool:
        return bool(await made.redis.hexists(keys.PARKED_TO, "calls.0"))

    await until(is_there, 10, "the mark is noted")
    return cast("bytes", await made.redis.hget(keys.PARKED_TO, "calls.0")).decode()


async def has_moved(made: Installation, before: str) -> bool:
    offset = int((await mark(made)).partition(":")[0])
    return offset > max([*(one.offset or 0 for one in await made.parked()), int(before.partition(":")[0])])


async def test_a_refused_event_is_folded_when_it_is_replayed_after_its_caller_id_became_known(
    installed: Installation,
) -> None:
    await define(installed)
    async with installed.consumer():
        await installed.caught_up()
        await known(installed)
        await installed.publish(CUSTOMER, placed("1", now_ms(), caller=99))
        [reason] = await parked(installed, 1)
        assert reason.startswith("unknown_caller_id: the customer has no caller ID 99")
        await define(installed, 99)
        await known(installed, 99)
        message = await (await installed.broker.get_queue(PARKED)).get(fail=False)
        assert message is not None
        assert msgspec.json.decode(message.body)["id"] == "1"
        await installed.publish_raw(KEY, message.body, message.content_type or "")
        await message.ack()
        await installed.caught_up()
        assert await installed.calls(CUSTOMER, 99) == 1


async def test_an_odd_property_is_no_reason_to_refuse_live_or_in_a_replay(installed: Installation) -> None:
    """Beside every odd message one of another customer's: all are folded, at once and again from an emptied Redis."""
    known = {CONTENT_TYPE: short(EVENT_CONTENT_TYPE.encode()), DELIVERY_MODE: b"\x02"}
    async with installed.consumer(), raw_publisher(installed.servers.rabbitmq_url) as publisher:
        await installed.caught_up()
        for number, odd in enumerate(ODD.values()):
            body = encode_event(placed(f"{number}", now_ms()))
            for key, values in ((KEY, known | odd), ("call-placed.8", known)):
                await publisher.publish(EXCHANGE, key.encode(), properties(values), body)
        await installed.caught_up()
        assert (await installed.calls(CUSTOMER), await installed.calls(8)) == (len(ODD), len(ODD))
        await installed.redis.flushdb()
        await installed.caught_up()
        assert (await installed.calls(CUSTOMER), await installed.calls(8)) == (len(ODD), len(ODD))
    assert await installed.parked() == []
