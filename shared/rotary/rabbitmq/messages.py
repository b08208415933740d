"""From a message to the events in it, and to what must be parked with the reason."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec

from rotary.domain.acceptance import Arrived, check_time
from rotary.domain.facts import event_ms
from rotary.errors import EventRefusedError
from rotary.events import (
    BATCH_CONTENT_TYPE,
    EVENT_CONTENT_TYPE,
    EVENT_TYPES,
    MAX_BATCH_EVENTS,
    MAX_ID,
    MAX_MESSAGE_BYTES,
    CallPlaced,
    CarrierFlag,
    CooldownCleared,
    Event,
)

_decode_event: Callable[[bytes | msgspec.Raw], Event] = msgspec.json.Decoder(Event).decode
_decode_batch: Callable[[bytes], list[Event]] = msgspec.json.Decoder(list[Event]).decode
_decode_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_type = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_TYPES: dict[str, type[Event]] = {
    "call-placed": CallPlaced,
    "carrier-flag": CarrierFlag,
    "cooldown-cleared": CooldownCleared,
}


class Message(NamedTuple):
    """One delivery."""

    tag: int
    routing_key: str
    content_type: str
    body: bytes


class Refused(NamedTuple):
    """What could not be folded: a whole message, or one event out of a batch."""

    routing_key: str
    content_type: str
    body: bytes
    reason: str


class TimedEvent(NamedTuple):
    """An accepted event and its own time in UTC milliseconds."""

    event: Event
    at_ms: int


class Opened(NamedTuple):
    """A message's accepted events, all of one customer, and what it held besides."""

    customer: int
    events: Sequence[TimedEvent]
    refused: Sequence[Refused]


def open_message(message: Message, arrived: Arrived) -> Opened:
    """Decodes and checks a message; event times are judged by when it arrived.

    Never raises for bad input: one bad event in a batch is refused alone, a message that cannot be read as a whole.
    """
    try:
        kind, customer = _address(message.routing_key)
        events = _decode(message)
    except EventRefusedError as error:
        return Opened(0, (), (Refused(message.routing_key, message.content_type, message.body, error.reason),))
    accepted: list[TimedEvent] = []
    refused: list[Refused] = []
    for position, event in enumerate(events):
        try:
            accepted.append(_accept(event, kind, message.routing_key, arrived))
        except EventRefusedError as error:
            body = _original(message, position)
            refused.append(Refused(message.routing_key, EVENT_CONTENT_TYPE, body, error.reason))
    return Opened(customer, accepted, refused)


@lru_cache(maxsize=65536)
def _address(routing_key: str) -> tuple[type[Event], int]:
    kind, _, customer = routing_key.partition(".")
    if kind not in _TYPES:
        raise EventRefusedError(
            f"unknown_type: the routing key begins with {kind!r}, not one of {', '.join(EVENT_TYPES)}"
        )
    if not (customer.isascii() and customer.isdigit() and customer[0] != "0" and int(customer) <= MAX_ID):
        raise EventRefusedError("wrong_routing_key: it does not end in a customer's id, as in call-placed.7")
    return _TYPES[kind], int(customer)


def _decode(message: Message) -> Sequence[Event | EventRefusedError]:
    if len(message.body) > MAX_MESSAGE_BYTES:
        raise EventRefusedError(f"too_large: {len(message.body)} bytes, at most {MAX_MESSAGE_BYTES} pass")
    content_type = message.content_type.partition(";")[0].strip().lower()
    if content_type == EVENT_CONTENT_TYPE:
        return (_decode_one(message.body),)
    if content_type == BATCH_CONTENT_TYPE:
        return _decode_many(message.body)
    wanted = f"{EVENT_CONTENT_TYPE} or {BATCH_CONTENT_TYPE}"
    raise EventRefusedError(f"wrong_content_type: {message.content_type!r}, not {wanted}")


def _decode_many(body: bytes) -> Sequence[Event | EventRefusedError]:
    events: Sequence[Event | EventRefusedError]
    try:
        events = _decode_batch(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        events = [_decode_one(raw) for raw in _split(body)]
    if len(events) > MAX_BATCH_EVENTS:
        raise EventRefusedError(f"too_large: {len(events)} events, at most {MAX_BATCH_EVENTS} pass")
    return events


def _decode_one(body: bytes | msgspec.Raw) -> Event | EventRefusedError:
    try:
        return _decode_event(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return EventRefusedError(_why(body, error))


def _split(body: bytes) -> list[msgspec.Raw]:
    try:
        return _decode_raws(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EventRefusedError(f"not_decodable: {error}") from None


def _original(message: Message, position: int) -> bytes:
    """The event as it came, with whatever attributes we do not know."""
    single = not message.content_type.lower().startswith(BATCH_CONTENT_TYPE)
    return message.body if single else bytes(_split(message.body)[position])


def _why(body: bytes | msgspec.Raw, error: Exception) -> str:
    # msgspec's messages name the path and the rule, never the value: a number or a lead's id cannot leak through them,
    # except an unknown type, which it quotes and which is what the reader needs to see.
    try:
        fields = _decode_type(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return f"not_decodable: {error}"
    kind = bytes(fields.get("type", b"")).decode(errors="replace").strip('"')
    return f"unknown_type: {kind!r:.100}" if kind not in EVENT_TYPES else f"not_decodable: {error}"


def _accept(event: Event | EventRefusedError, kind: type[Event], routing_key: str, arrived: Arrived) -> TimedEvent:
    if isinstance(event, EventRefusedError):
        raise event
    if type(event) is not kind:
        raise EventRefusedError(f"wrong_routing_key: the event is of another type than {routing_key!r} says")
    at_ms = event_ms(event)
    check_time(event, at_ms, arrived)
    return TimedEvent(event, at_ms)
