"""Decodes a message into its events, with a reason for each event that can't be folded."""

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
_MAX_DETAIL = MAX_REASON - 50  # leaves room for the code
_CONTENT_TYPES = (EVENT_CONTENT_TYPE, BATCH_CONTENT_TYPE)
# The union, although the routing key names the type: a single Struct would accept an event without a type.
_decode_event: Callable[[bytes | msgspec.Raw], Event] = msgspec.json.Decoder(Event).decode
_decode_batch: Callable[[bytes], list[Event]] = msgspec.json.Decoder(list[Event]).decode
_decode_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Message(Protocol):
    """The parts of a delivery that decoding needs."""

    @property
    def routing_key(self) -> str: ...
    @property
    def content_type(self) -> str: ...
    @property
    def body(self) -> bytes: ...


class Reason(NamedTuple):
    """Why an event or a message is refused. `code` names the broken rule, such as `too_large`; `detail` says how."""

    code: str
    detail: str

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class Refused(NamedTuple):
    """A message with at least one event that is not folded.

    `reason` is the text for an operator; of a batch it lists the refused events. `code` is the first rule it names.
    """

    routing_key: str
    content_type: str
    body: bytes
    reason: str
    code: str


class Opened(NamedTuple):
    """The events of a message, all of one customer and of the type in its routing key.

    `indices` are the events' places in the message. `faults` holds the reasons for the refused events, by index.
    """

    customer: int
    kind: type[Event]
    events: Sequence[Event]
    indices: Sequence[int]
    faults: Mapping[int, Reason] = {}


def open_message(message: Message) -> Opened:
    """Decodes a message. The caller checks the events' times.

    Raises EventRefusedError for any message that can't be read as a whole, and no other error: a bad message must not
    stop the log.
    """
    try:
        kind, customer = _address(message.routing_key)
        return _open(message, kind, customer)
    except EventRefusedError:
        raise
    except Exception as error:
        raise EventRefusedError(f"{type(error).__name__}: {error}"[:_MAX_DETAIL], "not_decodable") from error


def reason_of(error: EventRefusedError) -> Reason:
    """The reason without the error, whose traceback would keep the message in memory."""
    return Reason(error.code, error.detail)


def refused(message: Message, reason: Reason) -> Refused:
    """The whole message, refused for one reason."""
    return _refused(message, reason.code, str(reason))


def refused_events(message: Message, faults: Mapping[int, Reason]) -> Refused:
    """A message with the reasons for its refused events, by index. Its other events are folded."""
    if not is_batch(message):
        return refused(message, next(iter(faults.values())))
    by_code: dict[str, list[int]] = {}
    for index in sorted(faults):
        by_code.setdefault(faults[index].code, []).append(index)
    # The codes come before the details, because a long text loses its end.
    sentences = [f"{code}: {len(at)} of the batch, at {_listed(at)}" for code, at in by_code.items()]
    sentences += [f"At {at[0]}: {faults[at[0]].detail}" for at in by_code.values()]
    return _refused(message, next(iter(by_code)), ". ".join(sentences))


def joined(first: Refused | None, second: Refused) -> Refused:
    """Two refusals of one message as one."""
    if first is None:
        return second
    return _refused(first, first.code, f"{first.reason[: MAX_REASON // 2]}. {second.reason}")


def _refused(message: Message, code: str, reason: str) -> Refused:
    return Refused(message.routing_key, message.content_type, message.body, reason[:MAX_REASON], code)


def _listed(indices: Sequence[int]) -> str:
    text = ", ".join(map(str, indices))
    return text if len(text) <= MAX_INDICES else text[:MAX_INDICES].rpartition(",")[0] + ", …"


@lru_cache(maxsize=65536)
def _address(routing_key: str) -> tuple[type[Event], int]:
    kind, _, customer = routing_key.partition(".")
    if kind not in _CLASSES:
        expected = ", ".join(EVENT_TYPES)
        raise EventRefusedError(f"the routing key begins with {kind!r}; expected one of {expected}", "unknown_type")
    if not (customer.isascii() and customer.isdigit() and customer[0] != "0" and int(customer) <= MAX_ID):
        raise EventRefusedError("it does not end in a customer's id, as in call-placed.7", "wrong_routing_key")
    return _CLASSES[kind], int(customer)


def _open(message: Message, kind: type[Event], customer: int) -> Opened:
    body = message.body
    if len(body) > MAX_MESSAGE_BYTES:
        raise EventRefusedError(f"{len(body)} bytes; the limit is {MAX_MESSAGE_BYTES}", "too_large")
    if not is_batch(message):
        event = _decode_one(body)
        if isinstance(event, Reason):
            raise _error(event)
        if type(event) is not kind:
            raise _error(_other_type(message))
        return Opened(customer, kind, (event,), (0,))
    try:
        events = _decode_batch(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _open_singly(message, kind, customer)
    if len(events) > MAX_BATCH_EVENTS:
        raise _too_many(events)
    if set(map(type, events)) - {kind}:
        return _open_singly(message, kind, customer)
    return Opened(customer, kind, events, range(len(events)))


def _open_singly(message: Message, kind: type[Event], customer: int) -> Opened:
    raws = _split(message.body)
    if len(raws) > MAX_BATCH_EVENTS:
        raise _too_many(raws)
    events, indices, faults = list[Event](), list[int](), dict[int, Reason]()
    for index, raw in enumerate(raws):
        found = _decode_one(raw)
        if isinstance(found, Reason):
            faults[index] = found
        elif type(found) is not kind:
            faults[index] = _other_type(message)
        else:
            events.append(found)
            indices.append(index)
    return Opened(customer, kind, events, indices, faults)


def _error(reason: Reason) -> EventRefusedError:
    return EventRefusedError(reason.detail, reason.code)


def _other_type(message: Message) -> Reason:
    return Reason("wrong_routing_key", f"the type of the event is not the one in {message.routing_key!r}")


def is_batch(message: Message) -> bool:
    """Whether the content type is that of a batch. Raises EventRefusedError for an unknown content type."""
    content_type = message.content_type
    if content_type not in _CONTENT_TYPES:
        content_type = content_type.partition(";")[0].strip().lower()
        if content_type not in _CONTENT_TYPES:
            raise EventRefusedError(
                f"{message.content_type!r}; expected one of {', '.join(_CONTENT_TYPES)}", "wrong_content_type"
            )
    return content_type == BATCH_CONTENT_TYPE


def _too_many(events: Sequence[object]) -> EventRefusedError:
    return EventRefusedError(f"{len(events)} events; the limit is {MAX_BATCH_EVENTS}", "too_large")


def _decode_one(body: bytes | msgspec.Raw) -> Event | Reason:
    """The event, or the reason why it can't be decoded."""
    try:
        return _decode_event(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _reason(body, error)


def _split(body: bytes) -> list[msgspec.Raw]:
    try:
        return _decode_raws(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EventRefusedError(str(error), "not_decodable") from None


def _reason(body: bytes | msgspec.Raw, error: Exception) -> Reason:
    # msgspec's messages name the path and the rule, and no value: numbers and lead ids do not reach the logs. An
    # unknown type is the exception, because an operator needs to see it.
    try:
        fields = _decode_fields(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Reason("not_decodable", str(error))
    kind = bytes(fields.get("type", b"")).decode(errors="replace").strip('"')
    if kind not in EVENT_TYPES:
        return Reason("unknown_type", f"{kind!r:.100}")
    return Reason("not_decodable", str(error))
