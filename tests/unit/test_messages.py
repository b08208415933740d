"""What a message may be: every way of breaking the contract has its reason, and spares the rest of its batch."""

import msgspec
import pytest

from given import cleared, flagged, placed
from rotary.events import BATCH_CONTENT_TYPE, EVENT_CONTENT_TYPE, MAX_MESSAGE_BYTES, Event, encode_batch, encode_event
from rotary.rabbitmq.messages import Message, Refused, open_message, original
from rotary_consumer.sorting import Sorted, Sorter

GOOD = placed("good")


def message(body: bytes, key: str = "call-placed.7", content_type: str = EVENT_CONTENT_TYPE) -> Message:
    return Message(1, key, content_type, body)


def batch(*events: bytes, key: str = "call-placed.7") -> Message:
    return message(b"[" + b",".join(events) + b"]", key, BATCH_CONTENT_TYPE)


@pytest.mark.parametrize("event", [placed("1"), flagged("1", "blocked"), cleared("1")])
def test_a_good_event_opens_alone_and_in_a_batch(event: Event) -> None:
    key = {"CallPlaced": "call-placed", "CarrierFlag": "carrier-flag", "CooldownCleared": "cooldown-cleared"}
    address = f"{key[type(event).__name__]}.{2**63 - 1}"
    for opened in (
        open_message(message(encode_event(event), address)),
        open_message(message(encode_batch([event]), address, BATCH_CONTENT_TYPE)),
        open_message(message(encode_event(event), address, "Application/CloudEvents+JSON; charset=utf-8")),
    ):
        assert (opened.customer, opened.kind, opened.refused) == (2**63 - 1, type(event), ())
        assert list(opened.events) == [event]


WHOLE = [
    (message(b'{"specversion": "1.0"'), "not_decodable: Input data was truncated"),
    (
        message(encode_batch([GOOD, GOOD])[:-20], content_type=BATCH_CONTENT_TYPE),
        "not_decodable: Input data was truncated",
    ),
    (message(b"\xff\xfe"), "not_decodable: JSON is malformed: invalid character (byte 0)"),
    (message(b"{}", "call-other.7"), "unknown_type: the routing key begins with 'call-other', none of "),
    (message(b"{}", "call-placed"), "wrong_routing_key: it does not end in a customer's id, as in call-placed.7"),
    (message(b"{}", "call-placed.0"), "wrong_routing_key: "),
    (message(b"{}", "call-placed.-7"), "wrong_routing_key: "),
    (message(b"{}", "call-placed.7.7"), "wrong_routing_key: "),
    (message(b"{}", f"call-placed.{2**63}"), "wrong_routing_key: "),
    (message(encode_event(GOOD), content_type="application/json"), "wrong_content_type: 'application/json', none of "),
    (message(encode_event(GOOD), content_type=""), "wrong_content_type: '', none of "),
    (
        message(encode_event(GOOD) + b" " * MAX_MESSAGE_BYTES),
        f"too_large: {MAX_MESSAGE_BYTES + len(encode_event(GOOD))} bytes",
    ),
    (batch(*[encode_event(GOOD)] * 1001), "too_large: 1001 events, at most 1000 pass"),
    (batch(*[b"1"] * 1001), "too_large: 1001 events, at most 1000 pass"),
]


@pytest.mark.parametrize(("whole", "reason"), WHOLE, ids=range(len(WHOLE)))
def test_a_message_that_cannot_be_read_is_refused_as_it_came(whole: Message, reason: str) -> None:
    opened = open_message(whole)
    assert not opened.events
    [refused] = opened.refused
    assert refused[:3] == (whole.routing_key, whole.content_type, whole.body)
    assert refused.reason.startswith(reason)


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
        "wrong_routing_key: the event is of another type than 'call-placed.7' says",
    ),
    (b"3", "not_decodable: Expected `object`, got `int`"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD, ids=range(len(BAD)))
def test_one_bad_event_is_refused_alone_and_verbatim(bad: bytes, reason: str) -> None:
    opened = open_message(batch(encode_event(GOOD), bad, encode_event(placed("other"))))
    assert opened.events == [GOOD, placed("other")]
    [refused] = opened.refused
    assert refused[:3] == ("call-placed.7", EVENT_CONTENT_TYPE, bad)
    assert refused.reason.startswith(reason)
    assert open_message(message(bad)).refused == [refused]


def test_what_is_refused_for_its_time_keeps_attributes_that_we_do_not_know() -> None:
    late, now_ms = changed(time="2020-01-01T00:00:00Z", traceparent="00-abc"), 1_780_000_000_000
    sorter = Sorter("rotary.fold")
    sorter.after_ms = now_ms
    found = sorter.sort([batch(late), message(late)], now_ms, Sorted())
    assert found.events == 2
    assert [refused.body for refused in found.refused] == [late, late]
    assert {refused.reason.split(":")[0] for refused in found.refused} == {"out_of_window"}


def test_unknown_attributes_are_no_reason_to_refuse() -> None:
    assert open_message(message(changed(traceparent="00-abc", datacontenttype="application/json"))).events == (GOOD,)


def test_original_finds_the_event_in_its_batch() -> None:
    wanted = placed("b")
    whole = batch(encode_event(placed("a")), encode_event(wanted))
    assert original(whole, wanted, "why") == Refused("call-placed.7", EVENT_CONTENT_TYPE, encode_event(wanted), "why")
