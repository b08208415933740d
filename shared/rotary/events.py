"""The events that dialers and carriers publish: CloudEvents 1.0, structured JSON.

`EVENTS` is the registry: it says of each type what is particular to it. A new type of event is a class and an entry
here, what its facts are in `rotary.domain.facts`, and how they are stored in `rotary.redis.fold`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from struct import Struct as Layout
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

EXCHANGE = "rotary.events"
"""The durable topic exchange that every event is published to."""
EVENT_CONTENT_TYPE = "application/cloudevents+json"
BATCH_CONTENT_TYPE = "application/cloudevents-batch+json"
MAX_BATCH_EVENTS = 1_000
MAX_MESSAGE_BYTES = 1_048_576

MAX_ID = 2**63 - 1
Id = Annotated[int, Meta(ge=1, le=MAX_ID)]
"""A row's id in Postgres: a positive 64-bit integer."""
Text = Annotated[str, Meta(min_length=1, max_length=200)]
PickId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        description="The rotation engine's pick that the call was placed with: its reservation becomes this call.",
    ),
]
Timestamp = Annotated[datetime, Meta(tz=True)]
"""RFC 3339 with an offset; a time without one is refused, because it could mean any of 24 hours."""
FlagKind = Literal["spam_label", "blocked", "user_report", "rejected"]
FLAG_KINDS: tuple[FlagKind, ...] = ("spam_label", "blocked", "user_report", "rejected")


class CallPlacedData(Struct, frozen=True, omit_defaults=True, gc=False):
    """`caller_id_id` is the caller ID that the call showed; group and lead are the dialer's own bookkeeping."""

    caller_id_id: Id
    group_id: Id | None = None
    lead_id: Annotated[str, Meta(max_length=200)] | None = None
    pick_id: PickId | None = None


class CarrierFlagData(Struct, frozen=True, omit_defaults=True, gc=False):
    """A carrier's sign against a caller ID. `rejected` is a plain SIP 603, which never rests a number by itself."""

    caller_id_id: Id
    kind: FlagKind
    carrier: Annotated[str, Meta(max_length=100)] | None = None
    code: Annotated[str, Meta(max_length=100)] | int | None = None
    note: Annotated[str, Meta(max_length=2000)] | None = None


class CooldownClearedData(Struct, frozen=True, gc=False):
    """Somebody decided that this caller ID has rested enough; flags up to this moment no longer rest it."""

    caller_id_id: Id


# Events hold no cycles, and a consumer holds thousands: gc=False keeps the collector from looking through them.
class _CloudEvent(Struct, frozen=True, kw_only=True, tag_field="type", gc=False):
    specversion: Literal["1.0"]
    id: Text
    source: Text
    time: Timestamp


class CallPlaced(_CloudEvent, frozen=True, kw_only=True, gc=False, tag="call-placed"):
    """One outbound call was placed at `time`."""

    data: CallPlacedData


class CarrierFlag(_CloudEvent, frozen=True, kw_only=True, gc=False, tag="carrier-flag"):
    """A carrier, or somebody who was called, flagged the number at `time`."""

    data: CarrierFlagData


class CooldownCleared(_CloudEvent, frozen=True, kw_only=True, gc=False, tag="cooldown-cleared"):
    """The rest that flags up to `time` cause is over."""

    data: CooldownClearedData


Event = CallPlaced | CarrierFlag | CooldownCleared
EventType = Literal["call-placed", "carrier-flag", "cooldown-cleared"]
LogKind = Literal["calls", "flags"]
"""The kinds of logs: each holds its events for as long as they count, and some days more."""


class EventSpec(Struct, frozen=True):
    """What is particular to a type of event.

    `log` is the kind of log that holds it. `max_age_ms` is how old it may be when it arrives at the broker.
    """

    event_class: type[Event]
    type: EventType
    log: LogKind
    max_age_ms: int
    summary: str


_HOUR_MS = 3_600_000
MAX_AHEAD_MS = 5 * 60_000
"""How far an event's own time may be ahead of its arrival."""
EVENTS: Mapping[EventType, EventSpec] = {
    spec.type: spec
    for spec in (
        EventSpec(CallPlaced, "call-placed", "calls", 48 * _HOUR_MS, "One outbound call was placed."),
        EventSpec(CarrierFlag, "carrier-flag", "flags", 720 * _HOUR_MS, "A carrier, or a person called, flagged it."),
        EventSpec(CooldownCleared, "cooldown-cleared", "flags", 720 * _HOUR_MS, "The cooldown was ended by hand."),
    )
}
EVENT_TYPES = tuple(EVENTS)
_SPECS: Mapping[type[Event], EventSpec] = {spec.event_class: spec for spec in EVENTS.values()}

_encoder = msgspec.json.Encoder()
_unpack = Layout(">q").unpack


def event_type(event: Event) -> EventType:
    """The CloudEvents `type`, which is also the first half of the routing key."""
    return _SPECS[type(event)].type


def spec_of(event_class: type[Event]) -> EventSpec:
    """The registry's entry for a class of events."""
    return _SPECS[event_class]


def max_age_ms(log: LogKind) -> int:
    """How old an event in a log of this kind may have been when it arrived."""
    return max(spec.max_age_ms for spec in EVENTS.values() if spec.log == log)


def routing_key(event: Event, customer_id: int) -> str:
    """`<type>.<customer_id>`: the broker's topic permissions make it the tenant boundary."""
    return f"{event_type(event)}.{customer_id}"


def identity(source: str, event_id: str) -> int:
    """The signed 64-bit hash of (source, id), by which an event that arrives again is known to be the same fact.

    BLAKE2b over the length of the source, the source and the id: without the length ("ab", "c") would be ("a", "bc").
    """
    digest = blake2b((_length_first(source) + event_id).encode(), digest_size=8).digest()
    number: int = _unpack(digest)[0]
    return number


@lru_cache(maxsize=4096)
def _length_first(source: str) -> str:
    return f"{len(source.encode())}:{source}"


def encode_event(event: Event) -> bytes:
    """The body of a message with content type `application/cloudevents+json`."""
    return _encoder.encode(event)


def encode_batch(events: Sequence[Event]) -> bytes:
    """The body of a message with content type `application/cloudevents-batch+json`: at most 1,000 events, 1 MiB."""
    return _encoder.encode(events)
