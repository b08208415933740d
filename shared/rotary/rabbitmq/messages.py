"""From a message to the events in it, and to the reasons against those that can't be folded."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

import msgspec

from rotary.errors import EventRefusedError
from rotary.events import (
    BATCH_CONTENT_TYPE,
    EVENT_CONTENT_TYPE,
    EVENT_TYPES,
    EVENTS,
    MAX_BATCH_EVENTS,
    MAX_ID,
    MAX_MESSAGE_BYTES,
    Event,
)

_CLASSES: dict[str, type[Event]] = {spec.type: spec.event_class for spec in EVENTS.values()}
MAX_REASON, MAX_INDICES = 2_000, 500
_CONTENT_TYPES = (EVENT_CONTENT_TYPE, BATCH_CONTENT_TYPE)
# Of the union even where the routing key says which: alone, a Struct would accept an event that names no type.
_decode_event: Callable[[bytes | msgspec.Raw], Event] = msgspec.json.Decoder(Event).decode
_decode_batch: Callable[[bytes], list[Event]] = msgspec.json.Decoder(list[Event]).decode
_decode_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Message(Protocol):
    """What is opened: a delivery from a log."""

    @property
    def routing_key(self) -> str: ...
    @property
    def content_type(self) -> str: ...
    @property
    def body(self) -> bytes: ...


class Refused(NamedTuple):
    """A message that could not be folded, or not whole: then the reason lists the events that were not."""

    routing_key: str
    content_type: str
    body: bytes
    reason: str


class Opened(NamedTuple):
    """A message's events, all of one customer and of the type its routing key says; `faults` are the reasons against
    others in it, by their index."""

    customer: int
    kind: type[Event]
    events: Sequence[tuple[int, Event]]
    faults: Mapping[int, str] = {}


def open_message(message: Message) -> Opened:
    """Decodes a message into (index, event). Whether to believe the events' times is for the caller to see.

    Raises EventRefusedError for a message that can't be read as a whole, whatever is in it and whatever that breaks:
    bad input stops nobody's folding.
    """
    try:
        kind, customer = _address(message.routing_key)
        return _open(message, kind, customer)
    except EventRefusedError:
        raise
    except Exception as error:
        raise EventRefusedError(f"not_decodable: {type(error).__name__}: {error}"[:MAX_REASON]) from error


def refused(message: Message, reason: str) -> Refused:
    """The whole message, with the reason."""
    return Refused(message.routing_key, message.content_type, message.body, reason[:MAX_REASON])


def refused_events(message: Message, faults: Mapping[int, str]) -> Refused:
    """A message some of whose events could not be folded: the others were."""
    if not is_batch(message):
        return refused(message, next(iter(faults.values())))
    by_word: dict[str, list[int]] = {}
    for index in sorted(faults):
        by_word.setdefault(faults[index].partition(": ")[0], []).append(index)
    # The words first, then the details: what is too long is cut at its end.
    told = [f"{word}: {len(at)} of the batch, at {_listed(at)}" for word, at in by_word.items()]
    told += [f"At {at[0]}: {faults[at[0]].partition(': ')[2]}" for at in by_word.values()]
    return refused(message, ". ".join(told))


def joined(first: Refused | None, second: Refused) -> Refused:
    """One message that was refused in part for one reason and in part for another."""
    return second if first is None else refused(first, f"{first.reason[: MAX_REASON // 2]}. {second.reason}")


def _listed(indices: Sequence[int]) -> str:
    text = ", ".join(map(str, indices))
    return text if len(text) <= MAX_INDICES else text[:MAX_INDICES].rpartition(",")[0] + ", …"


@lru_cache(maxsize=65536)
def _address(routing_key: str) -> tuple[type[Event], int]:
    kind, _, customer = routing_key.partition(".")
    if kind not in _CLASSES:
        raise EventRefusedError(f"unknown_type: the routing key begins with {kind!r}, none of {', '.join(EVENT_TYPES)}")
    if not (customer.isascii() and customer.isdigit() and customer[0] != "0" and int(customer) <= MAX_ID):
        raise EventRefusedError("wrong_routing_key: it does not end in a customer's id, as in call-placed.7")
    return _CLASSES[kind], int(customer)


def _open(message: Message, kind: type[Event], customer: int) -> Opened:
    body = message.body
    if len(body) > MAX_MESSAGE_BYTES:
        raise EventRefusedError(f"too_large: {len(body)} bytes, at most {MAX_MESSAGE_BYTES} pass")
    if not is_batch(message):
        event = _decode_one(body)
        if isinstance(event, str):
            raise EventRefusedError(event)
        if type(event) is not kind:
            raise EventRefusedError(_other_type(message))
        return Opened(customer, kind, ((0, event),))
    try:
        events = _decode_batch(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _open_singly(message, kind, customer)
    if len(events) > MAX_BATCH_EVENTS:
        raise _too_many(events)
    if set(map(type, events)) - {kind}:
        return _open_singly(message, kind, customer)
    return Opened(customer, kind, tuple(enumerate(events)))


def _open_singly(message: Message, kind: type[Event], customer: int) -> Opened:
    raws = _split(message.body)
    if len(raws) > MAX_BATCH_EVENTS:
        raise _too_many(raws)
    events, faults = list[tuple[int, Event]](), dict[int, str]()
    for index, raw in enumerate(raws):
        found = _decode_one(raw)
        if isinstance(found, str):
            faults[index] = found
        elif type(found) is not kind:
            faults[index] = _other_type(message)
        else:
            events.append((index, found))
    return Opened(customer, kind, events, faults)


def _other_type(message: Message) -> str:
    return f"wrong_routing_key: the event is of another type than {message.routing_key!r} says"


def is_batch(message: Message) -> bool:
    """Whether the content type says that it holds many events. Raises EventRefusedError for another type."""
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
