"""From a message to the events in it, and to what must be parked with the reason."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec

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

_TYPES: dict[str, type[Event]] = {
    "call-placed": CallPlaced,
    "carrier-flag": CarrierFlag,
    "cooldown-cleared": CooldownCleared,
}
_CONTENT_TYPES = (EVENT_CONTENT_TYPE, BATCH_CONTENT_TYPE)
# Of the union even where the routing key says which: alone, a Struct would accept an event that names no type.
_decode_event: Callable[[bytes | msgspec.Raw], Event] = msgspec.json.Decoder(Event).decode
_decode_batch: Callable[[bytes], list[Event]] = msgspec.json.Decoder(list[Event]).decode
_decode_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


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


class Opened(NamedTuple):
    """A message's events, all of one customer and of the type its routing key says, and what it held besides."""

    customer: int
    kind: type[Event]
    events: Sequence[Event]
    refused: Sequence[Refused] = ()


def open_message(message: Message) -> Opened:
    """Decodes a message. Whether to believe the events' times is for the caller to see.

    Never raises for bad input: one bad event in a batch is refused alone, a message that cannot be read as a whole.
    """
    try:
        kind, customer = _address(message.routing_key)
        return _open(message, kind, customer)
    except EventRefusedError as error:
        whole = Refused(message.routing_key, message.content_type, message.body, error.reason)
        return Opened(0, CallPlaced, (), (whole,))


def original(message: Message, event: Event, reason: str) -> Refused:
    """One event of a message, refused after all, as it came: with whatever attributes we do not know."""
    body = message.body
    if _is_batch(message):
        body = next(raw for raw in map(bytes, _split(body)) if _decode_one(raw) == event)
    return Refused(message.routing_key, EVENT_CONTENT_TYPE, body, reason)


@lru_cache(maxsize=65536)
def _address(routing_key: str) -> tuple[type[Event], int]:
    kind, _, customer = routing_key.partition(".")
    if kind not in _TYPES:
        raise EventRefusedError(f"unknown_type: the routing key begins with {kind!r}, none of {', '.join(EVENT_TYPES)}")
    if not (customer.isascii() and customer.isdigit() and customer[0] != "0" and int(customer) <= MAX_ID):
        raise EventRefusedError("wrong_routing_key: it does not end in a customer's id, as in call-placed.7")
    return _TYPES[kind], int(customer)


def _open(message: Message, kind: type[Event], customer: int) -> Opened:
    body = message.body
    if len(body) > MAX_MESSAGE_BYTES:
        raise EventRefusedError(f"too_large: {len(body)} bytes, at most {MAX_MESSAGE_BYTES} pass")
    try:
        events: Sequence[Event] = _decode_batch(body) if _is_batch(message) else (_decode_event(body),)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _open_singly(message, kind, customer)
    if set(map(type, events)) - {kind}:
        return _open_singly(message, kind, customer)
    if len(events) > MAX_BATCH_EVENTS:
        raise _too_many(events)
    return Opened(customer, kind, events)


def _open_singly(message: Message, kind: type[Event], customer: int) -> Opened:
    raws = _split(message.body) if _is_batch(message) else [msgspec.Raw(message.body)]
    if len(raws) > MAX_BATCH_EVENTS:
        raise _too_many(raws)
    events, refused = list[Event](), list[Refused]()
    for raw in raws:
        found = _decode_one(raw)
        if isinstance(found, str):
            refused.append(Refused(message.routing_key, EVENT_CONTENT_TYPE, bytes(raw), found))
        elif type(found) is not kind:
            reason = f"wrong_routing_key: the event is of another type than {message.routing_key!r} says"
            refused.append(Refused(message.routing_key, EVENT_CONTENT_TYPE, bytes(raw), reason))
        else:
            events.append(found)
    return Opened(customer, kind, events, refused)


def _is_batch(message: Message) -> bool:
    content_type = message.content_type
    if content_type not in _CONTENT_TYPES:
        content_type = content_type.partition(";")[0].strip().lower()
        if content_type not in _CONTENT_TYPES:
            raise EventRefusedError(
                f"wrong_content_type: {message.content_type!r}, none of {', '.join(_CONTENT_TYPES)}"
            )
    return content_type == BATCH_CONTENT_TYPE


def _too_many(events: Sequence[object]) -> EventRefusedError:
    return EventRefusedError(f"too_large: {len(events)} events, at most {MAX_BATCH_EVENTS} pass")


def _decode_one(body: bytes | msgspec.Raw) -> Event | str:
    """The event, or the reason why it is none."""
    try:
        return _decode_event(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _why(body, error)


def _split(body: bytes) -> list[msgspec.Raw]:
    try:
        return _decode_raws(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EventRefusedError(f"not_decodable: {error}") from None


def _why(body: bytes | msgspec.Raw, error: Exception) -> str:
    # msgspec's messages name the path and the rule, never the value: a number or a lead's id cannot leak through them,
    # except an unknown type, which it quotes and which is what the reader needs to see.
    try:
        fields = _decode_fields(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return f"not_decodable: {error}"
    kind = bytes(fields.get("type", b"")).decode(errors="replace").strip('"')
    return f"unknown_type: {kind!r:.100}" if kind not in EVENT_TYPES else f"not_decodable: {error}"
