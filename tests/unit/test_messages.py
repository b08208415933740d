"""What a message may be: every way of breaking the contract has its reason, and spares the rest of its batch."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from histories import cleared, delivered, delivered_batch, flagged, placed
from rotary.errors import EventRefusedError
from rotary.events import (
    BATCH_CONTENT_TYPE,
    EVENT_CONTENT_TYPE,
    MAX_MESSAGE_BYTES,
    Event,
    encode_batch,
    encode_event,
    routing_key,
)
from rotary.rabbitmq.messages import MAX_REASON, Reason, joined, open_message, reason_of, refused_events
from rotary.rabbitmq.stream import Delivery

GOOD = placed("good")
laws = settings(max_examples=200, deadline=None)


def message(body: bytes, key: str = "call-placed.7", content_type: str = EVENT_CONTENT_TYPE) -> Delivery:
    return delivered(1, body, key, content_type)


def batch(*events: bytes, key: str = "call-placed.7") -> Delivery:
    return message(b"[" + b",".join(events) + b"]", key, BATCH_CONTENT_TYPE)


@pytest.mark.parametrize("event", [placed("1"), flagged("1", "blocked"), cleared("1")])
def test_a_good_event_opens_alone_and_in_a_batch(event: Event) -> None:
    key = routing_key(event, 2**63 - 1)
    for opened in (
        open_message(message(encode_event(event), key)),
        open_message(message(encode_batch([event]), key, BATCH_CONTENT_TYPE)),
        open_message(message(encode_event(event), key, "Application/CloudEvents+JSON; charset=utf-8")),
    ):
        assert (opened.customer, opened.kind, opened.faults) == (2**63 - 1, type(event), {})
        assert (list(opened.events), list(opened.indices)) == ([event], [0])


WHOLE = [
    (message(b'{"specversion": "1.0"'), "not_decodable: Input data was truncated"),
    (message(b""), "not_decodable: Input data was truncated"),
    (message(b"", content_type=BATCH_CONTENT_TYPE), "not_decodable: Input data was truncated"),
    (
        message(encode_batch([GOOD, GOOD])[:-20], content_type=BATCH_CONTENT_TYPE),
        "not_decodable: Input data was truncated",
    ),
    (message(b"\xff\xfe"), "not_decodable: JSON is malformed: invalid character (byte 0)"),
    (message(b"{}", "call-other.7"), "unknown_type: the routing key begins with 'call-other'; expected one of "),
    (message(b"{}", "call-placed"), "wrong_routing_key: it does not end in a customer's id, as in call-placed.7"),
    (message(b"{}", "call-placed.0"), "wrong_routing_key: "),
    (message(b"{}", "call-placed.-7"), "wrong_routing_key: "),
    (message(b"{}", "call-placed.\N{SUPERSCRIPT TWO}"), "wrong_routing_key: "),
    (message(b"{}", "call-placed.7.7"), "wrong_routing_key: "),
    (message(b"{}", f"call-placed.{2**63}"), "wrong_routing_key: "),
    (message(b"{}", "call-placed." + "9" * 200), "wrong_routing_key: "),
    (
        message(encode_event(GOOD), content_type="application/json"),
        "wrong_content_type: 'application/json'; expected one of ",
    ),
    (message(encode_event(GOOD), content_type=""), "wrong_content_type: ''; expected one of "),
    (
        message(encode_event(GOOD) + b" " * MAX_MESSAGE_BYTES),
        f"too_large: {MAX_MESSAGE_BYTES + len(encode_event(GOOD))} bytes",
    ),
    (batch(*[encode_event(GOOD)] * 1001), "too_large: 1001 events; the limit is 1000"),
    (batch(*[b"1"] * 1001), "too_large: 1001 events; the limit is 1000"),
]


@pytest.mark.parametrize(("whole", "reason"), WHOLE, ids=range(len(WHOLE)))
def test_a_message_that_cannot_be_read_is_refused_with_the_reason(whole: Delivery, reason: str) -> None:
    with pytest.raises(EventRefusedError) as refused:
        open_message(whole)
    assert refused.value.reason.startswith(reason)


def changed(**fields: object) -> bytes:
    event = msgspec.json.decode(encode_event(GOOD))
    return msgspec.json.encode({name: value for name, value in {**event, **fields}.items() if value is not None})


BAD = [
    (changed(type="call-answered"), "unknown_type: 'call-answered'"),
    (changed(type=None), "unknown_type: ''"),
    (changed(time="2026-06-06T12:00:00"), "not_decodable: Expected `datetime` with a timezone component - at `$.time`"),
    (changed(specversion=None), "not_decodable: Object missing required field `specversion`"),
    (changed(id=""), "not_decodable: Expected `str` of length >= 1 - at `$.id`"),
    (changed(specversion="0.3"), "not_decodable: Invalid enum value '0.3' - at `$.specversion`"),
    (changed(data={"caller_id_id": 0}), "not_decodable: Expected `int` >= 1 - at `$.data.caller_id_id`"),
    (changed(data={"caller_id_id": 2**63}), "not_decodable: "),
    (changed(data={}), "not_decodable: Object missing required field `caller_id_id` - at `$.data`"),
    (
        encode_event(flagged("1", "blocked")),
        "wrong_routing_key: the type of the event is not the one in 'call-placed.7'",
    ),
    (b"3", "not_decodable: Expected `object`, got `int`"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD, ids=range(len(BAD)))
def test_one_bad_event_is_refused_alone(bad: bytes, reason: str) -> None:
    opened = open_message(batch(encode_event(GOOD), bad, encode_event(placed("other"))))
    assert (opened.events, opened.indices) == ([GOOD, placed("other")], [0, 2])
    assert list(opened.faults) == [1]
    assert str(opened.faults[1]).startswith(reason)
    with pytest.raises(EventRefusedError) as refused:
        open_message(message(bad))
    assert reason_of(refused.value) == opened.faults[1]
    assert refused.value.reason == str(opened.faults[1])


def test_unknown_attributes_are_no_reason_to_refuse() -> None:
    body = changed(traceparent="00-abc", datacontenttype="application/json")
    assert open_message(message(body)).events == (GOOD,)


# A refused message is one message, whatever is wrong in it


def test_a_bad_batch_is_refused_as_one_message_that_lists_what_was_bad_and_why() -> None:
    whole = batch(*[b"0"] * 3)
    faults = {
        7: Reason("out_of_window", "too late"),
        2: Reason("not_decodable", "odd"),
        5: Reason("out_of_window", "too early"),
    }
    refused = refused_events(whole, faults)
    assert refused[:3] == (whole.routing_key, whole.content_type, whole.body)
    assert refused.code == "not_decodable"
    assert refused.reason == (
        "not_decodable: 1 of the batch, at 2. out_of_window: 2 of the batch, at 5, 7. At 2: odd. At 5: too early"
    )


def test_a_single_events_reason_is_its_own() -> None:
    refused = refused_events(message(b"{}"), {0: Reason("out_of_window", "too late")})
    assert (refused.code, refused.reason) == ("out_of_window", "out_of_window: too late")


def test_a_colon_in_a_detail_does_not_change_the_code() -> None:
    faults = {0: Reason("not_decodable", "a: b"), 1: Reason("not_decodable", "c: d")}
    refused = refused_events(batch(b"0", b"0"), faults)
    assert (refused.code, refused.reason) == ("not_decodable", "not_decodable: 2 of the batch, at 0, 1. At 0: a: b")


def test_a_reason_is_bounded_and_cuts_no_index() -> None:
    whole = batch(*[b"0"] * 1000)
    reason = refused_events(whole, dict.fromkeys(range(1000), Reason("not_decodable", "x" * 5000))).reason
    assert len(reason) <= MAX_REASON
    listed = reason.partition("at ")[2].partition(", …")[0]
    assert [int(index) for index in listed.split(", ")] == list(range(len(listed.split(", "))))
    assert reason.startswith("not_decodable: 1000 of the batch")


def test_reasons_against_one_message_are_told_together() -> None:
    first, second = (refused_events(message(b"{}"), {0: Reason(code, "x" * MAX_REASON)}) for code in ("a", "b"))
    both = joined(first, second)
    assert joined(None, first) == first
    assert both.code == "a"
    assert both.reason.startswith("a: x")
    assert ". b: x" in both.reason
    assert len(both.reason) <= MAX_REASON


# Whatever comes, it is opened or refused


def nested(depth: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return opening * depth + closing * depth


def with_attribute(raw: bytes) -> bytes:
    """A good event with one more attribute."""
    return encode_event(GOOD)[:-1] + b',"odd":' + raw + b"}"


@pytest.mark.parametrize("depth", [10, 1_000, 100_000])
@pytest.mark.parametrize("content_type", [EVENT_CONTENT_TYPE, BATCH_CONTENT_TYPE])
def test_any_depth_is_opened_or_refused(depth: int, content_type: str) -> None:
    for body in (
        with_attribute(nested(depth)),
        with_attribute(nested(depth, b'{"a":', b"1}").replace(b"1}", b"}").replace(b":}", b":1}", 1)),
        nested(depth),
        b"[" + with_attribute(nested(depth)) + b"," + encode_event(GOOD) + b"]",
    ):
        opened_or_refused(message(body, content_type=content_type))


def test_an_event_beside_one_that_is_too_deep_is_folded_or_all_are_refused_with_a_reason() -> None:
    reason = opened_or_refused(batch(encode_event(GOOD), with_attribute(nested(5_000))))
    assert reason is None or reason.startswith("not_decodable: ")


numbers = st.integers() | st.integers(2**62, 2**70) | st.floats() | st.sampled_from([10**400, -(10**400)])
text = st.text(st.characters(codec=None), max_size=20) | st.sampled_from(["\ud800", "\x00", "a\x00b", "\udfff\ud800"])
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=10,
)
attributes = st.sampled_from(["specversion", "id", "source", "type", "time", "data", "caller_id_id"])


@st.composite
def odd_events(draw: st.DrawFn) -> bytes:
    """Nearly an event: some attributes replaced by anything, some twice, some in a strange encoding."""
    event: dict[str, Any] = json.loads(encode_event(GOOD))
    pairs = [*event.items(), *draw(st.lists(st.tuples(attributes | text, json_values), max_size=3))]
    order = draw(st.permutations(pairs))
    body = "{" + ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in order) + "}"
    return body.encode(draw(st.sampled_from(["utf-8", "utf-16", "utf-8-sig"])), errors="surrogatepass")


bodies = st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()) | odd_events()
batches = st.lists(odd_events() | st.just(encode_event(GOOD)) | st.binary(max_size=10), max_size=5).map(
    lambda parts: b"[" + b",".join(parts) + b"]"
)
keys = st.sampled_from(["call-placed.7", "carrier-flag.7", "cooldown-cleared.7"]) | st.text(max_size=30)
content_types = st.sampled_from([EVENT_CONTENT_TYPE, BATCH_CONTENT_TYPE]) | st.text(max_size=60)


def opened_or_refused(whole: Delivery) -> str | None:
    """None if it opens, and all that opened can be encoded and parked; else the reason."""
    try:
        opened = open_message(whole)
    except EventRefusedError as refused:
        assert 0 < len(refused.reason) <= MAX_REASON  # noqa: PT017  # it may also not be raised
        assert refused.reason.encode()  # noqa: PT017
        return refused.reason
    assert sorted([*opened.indices, *opened.faults]) == list(range(len(opened.events) + len(opened.faults)))
    assert all(type(event) is opened.kind for event in opened.events)
    if opened.faults:
        assert refused_events(whole, opened.faults).reason.encode()
    return None


@laws
@given(bodies | batches, keys, content_types)
@example(b'{"a":"\\ud800"}', "call-placed.7", EVENT_CONTENT_TYPE)
@example(b"[[[" * 300 + b"]]]" * 300, "call-placed.7", BATCH_CONTENT_TYPE)
def test_nothing_but_a_refusal_comes_out_of_a_message(body: bytes, key: str, content_type: str) -> None:
    opened_or_refused(message(body, key, content_type))


def test_a_batch_of_one_opens_as_the_event_does() -> None:
    assert list(open_message(delivered_batch(1, [GOOD])).events) == [GOOD]
    assert list(open_message(message(encode_event(GOOD))).events) == [GOOD]
