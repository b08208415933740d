"""The frames that the publisher writes and reads are those of the client library's own codec."""

from typing import Any

import pamqp.frame
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pamqp import body as pamqp_body
from pamqp import commands, header

from amqp_wire import CONTENT_TYPE, HEADERS, MESSAGE_ID, frame, properties, short, table
from rotary.events import BATCH_CONTENT_TYPE, EVENT_CONTENT_TYPE, EXCHANGE
from rotary.publisher.frames import (
    ACK,
    CHANNEL_CLOSE,
    NACK,
    RETURN,
    Closed,
    MessageFrames,
    read_close,
    read_confirm,
    read_message_number,
    read_return,
)

laws = settings(max_examples=100, deadline=None)
FRAME_MAX = 4096
PAYLOAD = 7


def unmarshalled(data: bytes) -> list[tuple[int, Any]]:
    """Channel and frame, as the client library reads them."""
    found = []
    while data:
        size, channel, one = pamqp.frame.unmarshal(data)
        found.append((channel, one))
        data = data[size:]
    return found


@laws
@given(
    size=st.integers(0, 3 * FRAME_MAX),
    number=st.integers(1, 2**63),
    channel=st.integers(1, 65_535),
    content_type=st.sampled_from((EVENT_CONTENT_TYPE, BATCH_CONTENT_TYPE)),
)
@example(size=FRAME_MAX - 8, number=1, channel=1, content_type=EVENT_CONTENT_TYPE)
@example(size=FRAME_MAX - 7, number=1, channel=1, content_type=EVENT_CONTENT_TYPE)
def test_a_message_is_a_publish_its_header_and_its_body_within_the_frame_size(
    size: int, number: int, channel: int, content_type: str
) -> None:
    body = bytes(number % 251 for _ in range(size))
    data = MessageFrames(channel, EXCHANGE, "call-placed.7", content_type, FRAME_MAX).encode(number, body)
    (_, publish), (_, head), *parts = found = unmarshalled(data)
    assert {channel} == {number for number, _ in found}
    assert isinstance(publish, commands.Basic.Publish)
    assert (publish.exchange, publish.routing_key, publish.mandatory) == (EXCHANGE, "call-placed.7", True)
    assert isinstance(head, header.ContentHeader)
    assert head.body_size == size
    assert (head.properties.content_type, head.properties.delivery_mode) == (content_type, 2)
    assert head.properties.message_id == f"{number:016x}"
    assert all(isinstance(part, pamqp_body.ContentBody) and len(part.value) <= FRAME_MAX - 8 for _, part in parts)
    assert b"".join(part.value for _, part in parts) == body


def test_without_a_limit_of_the_broker_a_message_is_one_body_frame() -> None:
    data = MessageFrames(1, EXCHANGE, "call-placed.7", EVENT_CONTENT_TYPE, 0).encode(1, b"x" * 500_000)
    assert len(unmarshalled(data)) == 3


@laws
@given(tag=st.integers(0, 2**63 - 1), multiple=st.booleans())
def test_confirms_are_read(tag: int, multiple: bool) -> None:
    for method, command in (
        (ACK, commands.Basic.Ack(tag, multiple)),
        (NACK, commands.Basic.Nack(tag, multiple, requeue=True)),
    ):
        data = pamqp.frame.marshal(command, 1)
        assert data[PAYLOAD : PAYLOAD + 4] == method
        assert read_confirm(data, PAYLOAD) == (tag, multiple)


def test_a_return_and_a_close_are_read() -> None:
    returned = pamqp.frame.marshal(commands.Basic.Return(312, "NO_ROUTE", EXCHANGE, "call-placed.7"), 1)
    assert returned[PAYLOAD : PAYLOAD + 4] == RETURN
    assert read_return(returned, PAYLOAD) == "NO_ROUTE call-placed.7"
    closed = pamqp.frame.marshal(commands.Channel.Close(404, "NOT_FOUND - no exchange", 60, 40), 1)
    assert closed[PAYLOAD : PAYLOAD + 4] == CHANNEL_CLOSE
    assert read_close(closed, PAYLOAD) == Closed(404, "NOT_FOUND - no exchange")


ONE_BYTE, SHORT = st.binary(min_size=1, max_size=1), st.binary(max_size=20).map(short)
others = st.fixed_dictionaries(
    {},
    optional={
        CONTENT_TYPE: SHORT,
        14: SHORT,
        HEADERS: st.just(table((b"timestamp_in_ms", b"l" + bytes(8)))),
        12: ONE_BYTE,
        11: ONE_BYTE,
        10: SHORT,
        9: SHORT,
        8: SHORT,
        6: st.binary(min_size=8, max_size=8),
        5: SHORT,
    },
)


@laws
@given(number=st.integers(1, 2**63), others=others)
def test_a_returned_message_is_recognised_whatever_properties_the_broker_added(
    number: int, others: dict[int, bytes]
) -> None:
    data = frame(2, b"\x00\x3c\x00\x00" + bytes(8) + properties({**others, MESSAGE_ID: short(b"%016x" % number)}))
    assert read_message_number(data, PAYLOAD, len(data) - 1) == number


@laws
@given(others=others, cut=st.integers(0, 30), message_id=st.none() | st.binary(max_size=20))
def test_a_header_that_cannot_be_read_is_no_message_of_ours(
    others: dict[int, bytes], cut: int, message_id: bytes | None
) -> None:
    own = {} if message_id is None else {MESSAGE_ID: short(b"no number" + message_id)}
    payload = b"\x00\x3c\x00\x00" + bytes(8) + properties({**others, **own})
    data = frame(2, payload[: max(4, len(payload) - cut)])
    assert read_message_number(data, PAYLOAD, len(data) - 1) is None
