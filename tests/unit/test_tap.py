"""The tap hands out what the broker sent, however TCP cut it, and breaks at nothing."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from random import Random
from struct import pack

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from amqp_wire import CONTENT_TYPE, HEADERS, USER_ID, content, frame, properties, short, table
from histories import LOG
from rotary.events import EVENT_CONTENT_TYPE, EXCHANGE
from rotary.rabbitmq.stream import Delivery, DeliveryTap, LogConsumer

laws = settings(max_examples=100, deadline=None)


def offset_field(offset: int) -> tuple[bytes, bytes]:
    return b"x-stream-offset", b"l" + pack(">q", offset)


def delivery(tag: int, key: bytes, header: bytes, body: bytes, split: int = 131_064) -> bytes:
    """A delivery as it comes over the wire."""
    deliver = b"\x00\x3c\x00\x3c" + short(b"ctag") + pack(">Q", tag) + b"\x00" + short(EXCHANGE.encode()) + short(key)
    return content(deliver, header, body, split)


shorts = st.binary(max_size=255).map(short)
odd_properties = st.fixed_dictionaries(
    {},
    optional={
        14: shorts, 12: st.binary(min_size=1, max_size=1), 11: st.binary(min_size=1, max_size=1), 10: shorts, 9: shorts,
        8: shorts, 7: shorts, 6: st.binary(min_size=8, max_size=8), 5: shorts, USER_ID: shorts, 3: shorts, 2: shorts,
    },
)  # fmt: skip


def tapped(chunks: Sequence[bytes]) -> tuple[list[Delivery], bytes]:
    """What a connection that receives these chunks delivers, and what it leaves to the client library."""

    async def run() -> tuple[list[Delivery], bytes]:
        consumer = LogConsumer(LOG.queue)
        tap: DeliveryTap = consumer.tap()
        for chunk in chunks:
            tap.feed_data(chunk)
        tap.feed_eof()
        taken = [delivery async for delivery in _all_of(consumer)]
        return taken, (await tap.read()).replace(b"\x08\x00\x00\x00\x00\x00\x00\xce", b"")

    return asyncio.run(run())


async def _all_of(consumer: LogConsumer) -> AsyncIterator[Delivery]:
    while consumer.pending:
        for one in await consumer.take(1000, 0):
            yield one


def chunked(data: bytes, random: Random) -> list[bytes]:
    """The same bytes in pieces, many of them tiny."""
    chunks, at = [], 0
    while at < len(data):
        size = random.choice([1, 2, 3, 7, 8, 9, 100, 5000])
        chunks.append(data[at : at + size])
        at += size
    return chunks


@laws
@given(
    st.lists(st.tuples(odd_properties, st.binary(max_size=300), st.integers(1, 50)), max_size=5),
    st.integers(0, 2**32),
)
def test_the_tap_delivers_the_same_however_the_bytes_arrive(
    messages: list[tuple[dict[int, bytes], bytes, int]], seed: int
) -> None:
    """Whatever the other properties hold, content type, offset and user are found; what is no delivery passes."""
    wire, other = b"", frame(1, b"\x00\x0a\x00\x0b" + b"x" * 20, channel=0)
    for tag, (odd, body, split) in enumerate(messages, 1):
        known = odd | {
            CONTENT_TYPE: short(EVENT_CONTENT_TYPE.encode()),
            HEADERS: table((b"a", b"S" + pack(">I", 3) + b"\xff\xfe\xfd"), offset_field(tag * 10)),
        }
        wire += other + delivery(tag, b"call-placed.7", properties(known), body, split)
    wire += other
    whole, rest = tapped([wire])
    assert [(d.tag, d.offset, d.content_type, d.body) for d in whole] == [
        (tag, tag * 10, EVENT_CONTENT_TYPE, body) for tag, (_, body, _) in enumerate(messages, 1)
    ]
    assert [d.user_id for d in whole] == [
        odd[USER_ID][1:].decode(errors="replace") if USER_ID in odd else "" for odd, _, _ in messages
    ]
    assert rest == other * (len(messages) + 1)
    assert tapped(chunked(wire, Random(seed))) == (whole, rest)


@laws
@given(st.binary(max_size=400), st.binary(max_size=50), st.integers(0, 2**32))
@example(pack(">H", 0xFFFF), b"x", 0)
@example(b"", b"", 0)
@example(pack(">H", 1 << HEADERS) + pack(">I", 2**32 - 1) + b"\x01aF" + pack(">I", 2**32 - 1), b"x", 0)
def test_no_content_header_breaks_the_tap(header: bytes, body: bytes, seed: int) -> None:
    wire = delivery(1, b"call-placed.7", header, body)
    wire += delivery(2, b"call-placed.7", properties({HEADERS: table(offset_field(5))}), b"good")
    for chunks in ([wire], chunked(wire, Random(seed))):
        odd, good = tapped(chunks)[0]
        assert (odd.tag, odd.body) == (1, body)
        assert (good.offset, good.body) == (5, b"good")


@pytest.mark.parametrize(
    "value",
    [
        b"F" + table((b"a", b"F" + table((b"b", b"t\x01")))),
        b"A" + pack(">I", 3) + b"t\x01V",
        b"x" + pack(">I", 2) + b"\xff\xff",
        b"S" + pack(">I", 40) + b"x-stream-offsetl\x00\x00\x00\x00\x00\x00\x00\x07".ljust(40),
        b"T" + pack(">Q", 2**64 - 1),
        b"D\x02" + pack(">i", 5),
        b"d" + pack(">d", float("nan")),
        b"V",
        b"s" + pack(">h", -1),
        b"b\xff",
        b"B\xff",
        b"f\x00\x00\x00\x00",
        b"I" + pack(">i", -1),
        b"l" + pack(">q", -1),
    ],
)
def test_the_offset_is_found_behind_a_header_of_any_type(value: bytes) -> None:
    headers = table((b"a", value), offset_field(77), (b"x-stream-offset", b"l" + pack(">q", 3)))
    [one], _ = tapped([delivery(1, b"k", properties({HEADERS: headers}), b"")])
    assert (one.offset, one.content_type, one.body) == (77, "", b"")


def test_a_message_without_a_readable_offset_is_the_one_after_the_last() -> None:
    wire = delivery(1, b"k", properties({HEADERS: table(offset_field(41))}), b"a") + delivery(
        2, b"k", b"\x00\x00", b"b"
    )
    deliveries, _ = tapped([wire])
    assert [one.offset for one in deliveries] == [41, 42]


def test_a_body_of_many_frames_is_put_together() -> None:
    body = bytes(range(256)) * 4096
    [one], _ = tapped([delivery(1, b"k", properties({HEADERS: table(offset_field(1))}), body, 4096)])
    assert one.body == body
