"""Reading a stream of the real broker: whatever a publisher put beside a message, it is delivered."""

import asyncio
from collections.abc import AsyncIterator
from struct import pack

import pytest
import pytest_asyncio

from amqp_wire import (
    APP_ID,
    CLUSTER_ID,
    CONTENT_TYPE,
    CORRELATION_ID,
    DELIVERY_MODE,
    ENCODING,
    EXPIRATION,
    HEADERS,
    MESSAGE_ID,
    PRIORITY,
    REPLY_TO,
    TIMESTAMP,
    TYPE,
    RefusedByBrokerError,
    long,
    nested,
    properties,
    raw_publisher,
    short,
    table,
)
from histories import LOG
from integration.tcp_proxy import TcpProxy
from rotary.errors import UnavailableError
from rotary.events import EVENT_CONTENT_TYPE, EXCHANGE
from rotary.rabbitmq import stream, topology
from rotary.rabbitmq.connection import channel
from rotary.rabbitmq.markers import is_in_markers_place, publish_marker, read_marker, user_of
from rotary.rabbitmq.stream import Delivery, LogConsumer, LogMissingError, open_log

pytestmark = pytest.mark.asyncio(loop_scope="function")

PLAIN = {CONTENT_TYPE: short(EVENT_CONTENT_TYPE.encode()), DELIVERY_MODE: b"\x02"}
SHORTS = (ENCODING, CORRELATION_ID, REPLY_TO, MESSAGE_ID, TYPE, APP_ID, CLUSTER_ID)
KEY = b"call-placed.7"


def header(*fields: tuple[bytes, bytes]) -> dict[int, bytes]:
    return {HEADERS: table(*fields)}


VALUES = {
    b"t": b"\x01", b"b": b"\xff", b"B": b"\xff", b"s": b"\xff\xff", b"u": b"\xff\xff", b"I": b"\xff" * 4,
    b"i": b"\xff" * 4, b"l": b"\xff" * 8, b"L": b"\xff" * 8, b"T": b"\xff" * 8, b"V": b"", b"x": long(b"\xff\x00"),
    b"S": long(b"\xff\xfe"), b"F": table((b"\xff", b"V")), b"A": long(b"VVV"),
}  # fmt: skip
FORGED = b"x-stream-offset", b"l" + pack(">q", 5)
ODD: dict[str, dict[int, bytes]] = {
    "a time in microseconds": {TIMESTAMP: pack(">Q", 1_780_000_000_000_000)},
    "the last time there is": {TIMESTAMP: pack(">Q", 2**64 - 1)},
    "strings that are no text": {bit: short(b"\xff\xfe\xfd") for bit in SHORTS},
    "strings as long as can be": {bit: short(b"\xff" * 255) for bit in SHORTS},
    "the highest priority": {PRIORITY: b"\xff"},
    "tables a thousand deep": header((b"a", nested(1_000, b"F"))),
    "arrays a thousand deep": header((b"a", nested(1_000, b"A"))),
    "a forged offset": header(FORGED),
    "two forged offsets": header(FORGED, FORGED),
    "a forged offset that is text": header((FORGED[0], b"S" + long(b"5"))),
    "a huge header": header((b"a", b"S" + long(b"x" * 100_000))),
    "thousands of headers": header(*((b"h%d" % n, b"S" + long(b"v" * 20)) for n in range(2_000))),
    "a header whose name is no text": header((b"\xff\xfe", b"t\x01")),
    "a header without a name": header((b"", b"t\x01")),
    "another routing key beside it": header((b"CC", b"A" + long(b"S" + long(b"call-placed.8")))),
} | {
    f"a header of type {kind.decode()}, {where}": header((name, kind + value))
    for kind, value in VALUES.items()
    for name, where in ((b"a", "before the offset"), (b"zz", "behind it"))
}  # fmt: skip
NOT_OURS: dict[str, tuple[dict[int, bytes], str]] = {
    "a content type that is no text": ({CONTENT_TYPE: short(b"\xff\xfe")}, "\ufffd\ufffd"),
    "an empty content type": ({CONTENT_TYPE: short(b"")}, ""),
}
REFUSED: dict[str, dict[int, bytes]] = {
    "a header of an unknown type": header((b"a", b"z\x00")),
    "a table that ends too early": {HEADERS: pack(">I", 50) + b"\x01at\x01"},
    "an expiration that is no number": {EXPIRATION: short(b"\xff")},
}


@pytest_asyncio.fixture(loop_scope="function")
async def url(broker_url: str) -> AsyncIterator[str]:
    """A broker with one log, and nothing in it."""
    async with channel(broker_url) as opened:
        await topology.declare_exchanges(opened)
        await topology.declare_log(opened, LOG)
        await (await opened.get_queue(LOG.queue)).bind(EXCHANGE, "call-placed.*")
    yield broker_url
    async with channel(broker_url) as opened:
        await opened.queue_delete(LOG.queue)


async def publish(url: str, *messages: tuple[dict[int, bytes], bytes], key: bytes = KEY) -> None:
    async with raw_publisher(url) as publisher:
        for values, body in messages:
            await publisher.publish(EXCHANGE, key, properties(values), body)


async def taken(consumer: LogConsumer, count: int) -> list[Delivery]:
    """So many deliveries, in the order in which they came."""
    found: list[Delivery] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            some = await consumer.take(count - len(found))
            found += some
            if some:
                await consumer.acknowledge(some[-1].tag)
    return found


async def test_a_message_with_any_properties_is_delivered_with_what_matters_of_it(url: str) -> None:
    """All of them live, one connection reading; and all again from the log's beginning."""
    async with open_log(url, LOG.queue, "next") as live:
        await publish(url, *((PLAIN | odd, name.encode()) for name, odd in ODD.items()))
        read_live = await taken(live, len(ODD))
    async with open_log(url, LOG.queue, "first") as replay:
        read_again = await taken(replay, len(ODD))
    for found in (read_live, read_again):
        assert [delivery.body.decode() for delivery in found] == list(ODD)
        assert [delivery.offset for delivery in found] == list(range(len(ODD)))
        assert {delivery.content_type for delivery in found} == {EVENT_CONTENT_TYPE}
        assert {(delivery.exchange, delivery.routing_key) for delivery in found} == {(EXCHANGE, KEY.decode())}


@pytest.mark.parametrize("name", NOT_OURS)
async def test_a_content_type_is_read_as_well_as_can_be(url: str, name: str) -> None:
    odd, content_type = NOT_OURS[name]
    await publish(url, (PLAIN | odd, b"odd"), ({}, b"none"), (PLAIN, b"plain"))
    async with open_log(url, LOG.queue, "first") as consumer:
        found = await taken(consumer, 3)
    assert [delivery.content_type for delivery in found] == [content_type, "", EVENT_CONTENT_TYPE]


@pytest.mark.parametrize("name", REFUSED)
async def test_what_the_broker_refuses_harms_its_publisher_alone(url: str, name: str) -> None:
    async with open_log(url, LOG.queue, "next") as consumer:
        with pytest.raises(RefusedByBrokerError):
            await publish(url, (PLAIN | REFUSED[name], b"odd"))
        await publish(url, (PLAIN, b"plain"))
        [delivery] = await taken(consumer, 1)
    assert (delivery.offset, delivery.body) == (0, b"plain")


@pytest.mark.parametrize("size", [0, 1, 131_064, 131_065, 1_048_576])
async def test_a_body_of_any_size_arrives_whole(url: str, size: int) -> None:
    body = bytes(n % 251 for n in range(size))
    await publish(url, (PLAIN, body), (PLAIN, b"next"))
    async with open_log(url, LOG.queue, "first") as consumer:
        found = await taken(consumer, 2)
    assert [delivery.body for delivery in found] == [body, b"next"]


async def test_a_routing_key_that_is_no_text_is_delivered(url: str) -> None:
    await publish(url, (PLAIN, b"odd"), key=b"call-placed.\xff\xfe")
    await publish(url, (PLAIN, b"plain"))
    async with open_log(url, LOG.queue, "first") as consumer:
        found = await taken(consumer, 2)
    assert [delivery.routing_key for delivery in found] == ["call-placed.\ufffd\ufffd", KEY.decode()]


async def test_a_marker_is_known_by_its_place_and_the_user_that_the_broker_has_checked(url: str) -> None:
    async with channel(url, confirms=True) as opened:
        token = await publish_marker(opened, LOG.queue, 1_780_000_000_000, user_of(url))
    await publish(url, (PLAIN, b"1780000000000:0123456789abcdef"))
    async with open_log(url, LOG.queue, "first") as consumer:
        marker, event = await taken(consumer, 2)
    assert is_in_markers_place(marker, LOG.queue)
    assert read_marker(marker) == (1_780_000_000_000, token)
    assert not is_in_markers_place(event, LOG.queue)


async def test_reading_goes_on_at_any_offset(url: str) -> None:
    await publish(url, *((PLAIN, b"%d" % n) for n in range(50)))
    for offset in (0, 1, 17, 49):
        async with open_log(url, LOG.queue, offset) as consumer:
            found = await taken(consumer, 50 - offset)
        assert [(delivery.offset, delivery.body) for delivery in found] == [(n, b"%d" % n) for n in range(offset, 50)]


async def test_what_is_released_is_acknowledged_in_halves_of_the_prefetch(url: str) -> None:
    """A backlog would otherwise be read in small batches: as many messages come as are acknowledged."""
    await publish(url, *((PLAIN, b"%d" % n) for n in range(30)))
    async with open_log(url, LOG.queue, "first", prefetch=10) as consumer:
        found: list[Delivery] = []
        while len(found) < 10:
            found += await consumer.take(10)
        await consumer.release(found[3].tag)
        assert await consumer.take(10, 0.2) == []
        await consumer.release(found[4].tag)
        while len(found) < 15:
            found += await consumer.take(10)
        await consumer.release(found[4].tag)
        assert await consumer.take(10, 0.2) == []
        assert [delivery.body for delivery in found] == [b"%d" % n for n in range(15)]


async def test_a_backlog_is_waited_for_until_half_of_the_prefetch_is_there(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "BACKLOG_SECONDS", 60.0)
    await publish(url, (PLAIN, b"first"))
    async with asyncio.timeout(20), open_log(url, LOG.queue, "first", prefetch=20, known_end=1_000) as consumer:
        assert len(await consumer.take(500)) == 1
        taking = asyncio.create_task(consumer.take(500))
        await publish(url, *((PLAIN, b"%d" % n) for n in range(9)))
        while consumer.pending < 9:  # noqa: ASYNC110  # the broker is what changes
            await asyncio.sleep(stream.GATHER_SECONDS)
        await publish(url, (PLAIN, b"9"))
        assert [delivery.body for delivery in await taking] == [b"%d" % n for n in range(10)]


async def test_a_backlog_comes_in_halves_of_the_prefetch_and_nothing_beyond_it_is_waited_for(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "BACKLOG_SECONDS", 60.0)
    await publish(url, *((PLAIN, b"%d" % n) for n in range(47)))
    sizes: list[int] = []
    async with asyncio.timeout(20), open_log(url, LOG.queue, "first", prefetch=20, known_end=47) as consumer:
        while sum(sizes) < 47:
            found = await consumer.take(10)
            sizes.append(len(found))
            await consumer.acknowledge(found[-1].tag)
    # The first may be fewer: nobody has taken anything yet. So are the last seven, which are too few to wait for.
    assert sum(sizes) == 47
    assert set(sizes[1 : (47 - sizes[0]) // 10 + 1]) == {10}


async def test_a_backlog_of_large_messages_is_not_waited_for_beyond_what_is_taken_at_once(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "BACKLOG_SECONDS", 60.0)
    large = b" " * (stream.MAX_TAKEN_BYTES // 4)
    await publish(url, *((PLAIN, large) for _ in range(20)))
    async with asyncio.timeout(20), open_log(url, LOG.queue, "first", prefetch=40, known_end=1_000) as consumer:
        taken_at_once = [await consumer.take(500) for _ in range(4)]
    assert [len(found) for found in taken_at_once[1:]] == [4, 4, 4]


async def test_a_backlog_is_not_waited_for_once_the_connection_is_lost(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "BACKLOG_SECONDS", 60.0)
    await publish(url, (PLAIN, b"0"))
    async with TcpProxy(url) as proxy:
        with pytest.raises(UnavailableError):  # noqa: PT012  # wherever it is noticed
            async with open_log(proxy.url, LOG.queue, "first", 20, known_end=1_000) as consumer, asyncio.timeout(20):
                assert [delivery.body for delivery in await consumer.take(500)] == [b"0"]
                await proxy.drop()
                await consumer.take(500)


async def test_no_more_is_held_than_prefetched_until_it_is_acknowledged(url: str) -> None:
    await publish(url, *((PLAIN, b"%d" % n) for n in range(10)))
    async with open_log(url, LOG.queue, "first", prefetch=3) as consumer:
        found: list[Delivery] = []
        while len(found) < 3:
            found += await consumer.take(10)
        assert await consumer.take(10, 0.2) == []
        await consumer.acknowledge(found[-1].tag)
        await consumer.acknowledge(found[0].tag)  # before it, and so done already: twice is an error to the broker
        await consumer.acknowledge(found[-1].tag)
        assert [delivery.body for delivery in await taken(consumer, 7)] == [b"%d" % n for n in range(3, 10)]
        assert consumer.is_registered


async def test_a_log_that_is_not_there_is_missing(url: str) -> None:
    with pytest.raises(LogMissingError):
        async with open_log(url, "rotary.log.calls.99", "first"):
            pass


async def test_a_log_that_is_deleted_delivers_no_more(url: str) -> None:
    async with open_log(url, LOG.queue, "first") as consumer:
        async with channel(url) as opened:
            await opened.queue_delete(LOG.queue)
        with pytest.raises(UnavailableError):  # noqa: PT012  # at the next take, or at one after it
            async with asyncio.timeout(10):
                while not await consumer.take(1, 0.1):
                    pass


async def test_a_lost_connection_is_noticed_at_once(url: str) -> None:
    async with TcpProxy(url) as proxy:
        with pytest.raises(UnavailableError):  # noqa: PT012  # wherever it is noticed
            async with open_log(proxy.url, LOG.queue, "first") as consumer, asyncio.timeout(5):
                await proxy.drop()
                while not await consumer.take(1, 60):
                    pass
