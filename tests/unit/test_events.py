"""Events at the border: what is decoded, what is refused, and the identities that live on in Redis."""

from datetime import datetime, timedelta, timezone

import msgspec
import pytest

from histories import NOW, cleared, flagged, placed, utc
from rotary.domain.facts import event_ms
from rotary.events import (
    EVENT_TYPES,
    FLAG_KINDS,
    MAX_ID,
    CallPlaced,
    CallPlacedData,
    CarrierFlag,
    CarrierFlagData,
    CooldownCleared,
    CooldownClearedData,
    Event,
    encode_batch,
    encode_event,
    event_type,
    identity,
    routing_key,
)

AT = utc("2026-06-06T11:59:00.123Z")
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
CALL: dict[str, object] = {
    "specversion": "1.0",
    "id": "01JDX",
    "source": "/dialers/hcm-1",
    "type": "call-placed",
    "time": "2026-06-06T11:59:00.123Z",
    "data": {"caller_id_id": 18, "group_id": 3, "lead_id": "L-991"},
}


def decode(**changes: object) -> Event:
    return _decoder.decode(msgspec.json.encode(CALL | changes))


def decode_flag(**changes: object) -> Event:
    return decode(type="carrier-flag", data={"caller_id_id": 18, "kind": "blocked"} | changes)


def test_the_documented_example_is_decoded() -> None:
    assert decode() == CallPlaced(
        specversion="1.0",
        id="01JDX",
        source="/dialers/hcm-1",
        time=datetime.fromisoformat("2026-06-06T11:59:00.123+00:00"),
        data=CallPlacedData(18, 3, "L-991"),
    )


ACCEPTED: list[tuple[str, Event, Event]] = [
    ("only what is needed", decode(data={"caller_id_id": 18}), placed("01JDX", AT, source="/dialers/hcm-1")),
    ("nulls", decode(data={"caller_id_id": 18, "group_id": None, "lead_id": None}), decode(data={"caller_id_id": 18})),
    ("extension attributes", decode(subject="x", traceparent="00-1", datacontenttype="application/json"), decode()),
    ("unknown data", decode(data={"caller_id_id": 18, "agent": 5}), decode(data={"caller_id_id": 18})),
    ("another offset", decode(time="2026-06-06T18:59:00.123+07:00"), decode()),
    ("small letters", decode(time="2026-06-06t11:59:00.123z"), decode()),
    ("a block", decode_flag(), flagged("01JDX", "blocked", AT, source="/dialers/hcm-1")),
    ("a clear", decode(type="cooldown-cleared"), cleared("01JDX", AT, source="/dialers/hcm-1")),
]


@pytest.mark.parametrize(("got", "expected"), [case[1:] for case in ACCEPTED], ids=[case[0] for case in ACCEPTED])
def test_what_the_contract_allows_is_decoded(got: Event, expected: Event) -> None:
    assert got == expected


@pytest.mark.parametrize("kind", FLAG_KINDS)
@pytest.mark.parametrize("code", [603, "603", None])
def test_a_flag_keeps_its_details(kind: str, code: object) -> None:
    flag = decode_flag(kind=kind, carrier="viettel", code=code, note="Spam Risk")
    assert isinstance(flag, CarrierFlag)
    assert (flag.data.kind, flag.data.carrier, flag.data.code, flag.data.note) == (kind, "viettel", code, "Spam Risk")


REFUSED: list[tuple[str, dict[str, object], str]] = [
    ("no zone", {"time": "2026-06-06T11:59:00"}, "Expected `datetime` with a timezone component - at `$.time`"),
    ("a date", {"time": "2026-06-06"}, "Invalid RFC3339 encoded datetime - at `$.time`"),
    ("a number for a time", {"time": 1780747140}, "Expected `datetime`, got `int` - at `$.time`"),
    ("a day that is not", {"time": "2026-02-29T11:59:00Z"}, "Invalid RFC3339 encoded datetime - at `$.time`"),
    ("another specversion", {"specversion": "0.3"}, "Invalid enum value '0.3' - at `$.specversion`"),
    ("an empty id", {"id": ""}, "Expected `str` of length >= 1 - at `$.id`"),
    ("a number for an id", {"id": 5}, "Expected `str`, got `int` - at `$.id`"),
    ("a long id", {"id": "x" * 201}, "Expected `str` of length <= 200 - at `$.id`"),
    ("an empty source", {"source": ""}, "Expected `str` of length >= 1 - at `$.source`"),
    ("an unknown type", {"type": "call-planned"}, "Invalid value 'call-planned' - at `$.type`"),
    ("no data", {"data": None}, "Expected `object`, got `null` - at `$.data`"),
    ("no caller ID", {"data": {}}, "Object missing required field `caller_id_id` - at `$.data`"),
    ("caller ID 0", {"data": {"caller_id_id": 0}}, "Expected `int` >= 1 - at `$.data.caller_id_id`"),
    ("caller ID -1", {"data": {"caller_id_id": -1}}, "Expected `int` >= 1 - at `$.data.caller_id_id`"),
    ("a text", {"data": {"caller_id_id": "18"}}, "Expected `int`, got `str` - at `$.data.caller_id_id`"),
    ("a bool", {"data": {"caller_id_id": True}}, "Expected `int`, got `bool` - at `$.data.caller_id_id`"),
    ("a fraction", {"data": {"caller_id_id": 18.5}}, "Expected `int`, got `float` - at `$.data.caller_id_id`"),
    ("63 bits and more", {"data": {"caller_id_id": 2**63}}, f"Expected `int` <= {MAX_ID} - at `$.data.caller_id_id`"),
    ("20 digits", {"data": {"caller_id_id": 10**19}}, f"Expected `int` <= {MAX_ID} - at `$.data.caller_id_id`"),
    ("group 0", {"data": {"caller_id_id": 1, "group_id": 0}}, "Expected `int` >= 1 - at `$.data.group_id`"),
    ("a flag without a kind", {"type": "carrier-flag"}, "Object missing required field `kind` - at `$.data`"),
    (
        "an unknown kind of flag",
        {"type": "carrier-flag", "data": {"caller_id_id": 18, "kind": "spam"}},
        "Invalid enum value 'spam' - at `$.data.kind`",
    ),
]


@pytest.mark.parametrize(("changes", "reason"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_breaks_the_contract_is_refused_with_a_reason(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        decode(**changes)
    assert str(refused.value) == reason


@pytest.mark.parametrize("missing", ["id", "source", "type", "time", "data"])
def test_an_event_without_a_required_field_is_refused(missing: str) -> None:
    body = msgspec.json.encode({name: value for name, value in CALL.items() if name != missing})
    with pytest.raises(msgspec.ValidationError, match=f"missing required field `{missing}`"):
        _decoder.decode(body)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"call-placed"', b"\x80", encode_event(placed("1"))[:-5]])
def test_what_is_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        _decoder.decode(body)


def test_the_greatest_id_is_accepted() -> None:
    event = decode(data={"caller_id_id": MAX_ID, "group_id": MAX_ID})
    assert event.data.caller_id_id == MAX_ID == 9223372036854775807


@pytest.mark.parametrize(
    "event", [placed("1"), flagged("1", "blocked"), cleared("1"), placed("Ⅷ \u0000 \U0001f4de", source="/điện thoại")]
)
def test_what_is_encoded_is_decoded_alike(event: Event) -> None:
    assert _decoder.decode(encode_event(event)) == event
    assert msgspec.json.decode(encode_batch([event, event]), type=list[Event]) == [event, event]


def test_an_event_has_exactly_these_bytes() -> None:
    assert encode_event(placed("1", AT)) == (
        b'{"type":"call-placed","specversion":"1.0","id":"1","source":"/dialers/a","time":"2026-06-06T11:59:00.123000Z",'
        b'"data":{"caller_id_id":18}}'
    )
    assert msgspec.json.decode(encode_event(flagged("1", "blocked")))["data"] == {"caller_id_id": 18, "kind": "blocked"}


def test_a_routing_key_is_the_type_and_the_customer() -> None:
    keys = [routing_key(event, 7) for event in (placed("1"), flagged("1", "rejected"), cleared("1"))]
    assert keys == ["call-placed.7", "carrier-flag.7", "cooldown-cleared.7"]
    assert tuple(event_type(event) for event in (placed("1"), flagged("1", "rejected"), cleared("1"))) == EVENT_TYPES


@pytest.mark.parametrize(
    ("source", "event_id", "number"),
    [
        ("a", "b", -7618195031716567963),
        ("ab", "c", 5866573247733911556),
        ("a", "bc", -1337525392695925316),
        ("/dialers/hcm-1", "01JDX0", 8913618670700365710),
        ("/điện", "数", -3863393119655392575),
        ("", "", 4624554156401727479),
    ],
)
def test_identities_never_change_because_redis_remembers_them(source: str, event_id: str, number: int) -> None:
    assert identity(source, event_id) == number
    assert -(2**63) <= number < 2**63


def test_a_time_means_the_same_moment_in_any_offset() -> None:
    east = timezone(timedelta(hours=7))
    here = CooldownCleared(
        specversion="1.0",
        id="1",
        source="/admin",
        time=cleared("1").time.astimezone(east),
        data=CooldownClearedData(18),
    )
    assert event_ms(here) == NOW


def test_events_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        placed("1").id = "2"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        CarrierFlagData(18, "blocked").kind = "rejected"  # type: ignore[misc]
