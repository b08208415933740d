"""The events that dialers and carriers publish: CloudEvents 1.0, structured JSON.

`EVENTS` is the registry of event types. A new type needs a class and an entry here, its facts in `rotary.domain.facts`,
and their storage in `rotary.redis.fold`.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from struct import Struct as Layout
from struct import unpack
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
"""RFC 3339 with an offset. A time without an offset is refused, because it is ambiguous."""
FlagKind = Literal["spam_label", "blocked", "user_report", "rejected"]
FLAG_KINDS: tuple[FlagKind, ...] = ("spam_label", "blocked", "user_report", "rejected")


class CallPlacedData(Struct, frozen=True, omit_defaults=True, gc=False):
    """`caller_id_id` is the caller ID that the call showed. Group and lead are for the dialer's own use."""

    caller_id_id: Id
    group_id: Id | None = None
    lead_id: Annotated[str, Meta(max_length=200)] | None = None
    pick_id: PickId | None = None


class CarrierFlagData(Struct, frozen=True, omit_defaults=True, gc=False):
    """A flag against a caller ID. `rejected` is a plain SIP 603, which never starts a cooldown."""

    caller_id_id: Id
    kind: FlagKind
    carrier: Annotated[str, Meta(max_length=100)] | None = None
    code: Annotated[str, Meta(max_length=100)] | int | None = None
    note: Annotated[str, Meta(max_length=2000)] | None = None


class CooldownClearedData(Struct, frozen=True, gc=False):
    """A person ended the cooldown of this caller ID. Flags up to this time no longer cause one."""

    caller_id_id: Id


# Events have no reference cycles, and a consumer holds thousands: gc=False saves the collector the work.
class _CloudEvent(Struct, frozen=True, kw_only=True, tag_field="type", gc=False):
    specversion: Literal["1.0"]
    id: Text
    source: Text
    time: Timestamp


class CallPlaced(_CloudEvent, frozen=True, kw_only=True, gc=False, tag="call-placed"):
    """One outbound call was placed at `time`."""

    data: CallPlacedData


class CarrierFlag(_CloudEvent, frozen=True, kw_only=True, gc=False, tag="carrier-flag"):
    """A carrier, or a called person, flagged the number at `time`."""

    data: CarrierFlagData


class CooldownCleared(_CloudEvent, frozen=True, kw_only=True, gc=False, tag="cooldown-cleared"):
    """The cooldown from flags up to `time` is over."""

    data: CooldownClearedData


Event = CallPlaced | CarrierFlag | CooldownCleared
EventType = Literal["call-placed", "carrier-flag", "cooldown-cleared"]
LogKind = Literal["calls", "flags"]
"""The kinds of logs. Each keeps its events for as long as they count, and some days longer."""


class EventSpec(Struct, frozen=True):
    """The properties of an event type.

    `log` is the kind of log that holds its events. `max_age_ms` is the greatest age of an event on arrival at the
    broker.
    """

    event_class: type[Event]
    type: EventType
    log: LogKind
    max_age_ms: int
    summary: str

    @property
    def data_fields(self) -> tuple[str, ...]:
        """The names of the fields of `data`."""
        data = next(field.type for field in msgspec.structs.fields(self.event_class) if field.name == "data")
        names: tuple[str, ...] = data.__struct_fields__
        return names


_HOUR_MS = 3_600_000
MAX_AHEAD_MS = 5 * 60_000
"""An event's own time may be this far ahead of its arrival."""
EVENTS: Mapping[EventType, EventSpec] = {
    spec.type: spec
    for spec in (
        EventSpec(CallPlaced, "call-placed", "calls", 48 * _HOUR_MS, "One outbound call was placed."),
        EventSpec(
            CarrierFlag, "carrier-flag", "flags", 720 * _HOUR_MS, "A carrier or a called person flagged a number."
        ),
        EventSpec(CooldownCleared, "cooldown-cleared", "flags", 720 * _HOUR_MS, "The cooldown of a number is over."),
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
    """The greatest age on arrival of an event in a log of this kind."""
    return max(spec.max_age_ms for spec in EVENTS.values() if spec.log == log)


def routing_key(event: Event, customer_id: int) -> str:
    """`<type>.<customer_id>`. The broker's topic permissions use it to separate customers."""
    return f"{event_type(event)}.{customer_id}"


def identity(source: str, event_id: str) -> int:
    """The signed 64-bit hash of (source, id). Repeated events have the same hash and count once.

    BLAKE2b over the length of the source, the source and the id. The length separates ("ab", "c") from ("a", "bc").
    """
    hashed = _begun(source)()
    hashed.update(event_id.encode())
    number: int = _unpack(hashed.digest())[0]
    return number


def identities(events: Sequence[Event]) -> Sequence[int]:
    """The identity of each event, for a consumer's hottest loop: many at once take less time than one by one."""
    if len(events) == 1:
        return (identity(events[0].source, events[0].id),)
    digests: list[bytes] = []
    source, begin = "", _begun("")
    for event in events:
        if event.source != source:
            source, begin = event.source, _begun(event.source)
        hashed = begin()
        hashed.update(event.id.encode())
        digests.append(hashed.digest())
    return unpack(f">{len(digests)}q", b"".join(digests))


@lru_cache(maxsize=4096)
def _begun(source: str) -> Callable[[], blake2b]:
    """The hash of a source, to be copied and continued with an id: that is cheaper than a new one."""
    return blake2b(f"{len(source.encode())}:{source}".encode(), digest_size=8).copy


def encode_event(event: Event) -> bytes:
    """The body of a message with content type `application/cloudevents+json`."""
    return _encoder.encode(event)


def encode_batch(events: Sequence[Event]) -> bytes:
    """The body of a message with content type `application/cloudevents-batch+json`: at most 1,000 events, 1 MiB."""
    return _encoder.encode(events)
