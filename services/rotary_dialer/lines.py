"""Reads events from lines of JSON, or from CSV with a header: the forms that a script can write."""

import csv
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain
from typing import NamedTuple

import msgspec
from msgspec import Struct

from rotary.errors import EventRefusedError
from rotary.events import Event, EventType, FlagKind, Id, Text, Timestamp
from rotary.publisher import EventSource

_FIELDS: dict[EventType, frozenset[str]] = {
    "call-placed": frozenset({"group_id", "lead_id"}),
    "carrier-flag": frozenset({"kind", "carrier", "code", "note"}),
    "cooldown-cleared": frozenset(),
}


class Line(Struct, frozen=True, forbid_unknown_fields=True):
    """An event as a flat record. What a type does not have stays empty; `time`, `id` and `source` have defaults."""

    type: EventType
    caller_id_id: Id
    group_id: Id | None = None
    lead_id: str | None = None
    kind: FlagKind | None = None
    carrier: str | None = None
    code: str | int | None = None
    note: str | None = None
    time: Timestamp | None = None
    id: Text | None = None
    source: Text | None = None


class Numbered(NamedTuple):
    """An event, or why there is none, with its line's number from 1."""

    number: int
    event: Event | None
    reason: str = ""


class Defaults(NamedTuple):
    """What an event has that does not say: None means a new id, or now."""

    event_id: str | None = None
    time: datetime | None = None


NO_DEFAULTS = Defaults()
_event_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_line_decoder = msgspec.json.Decoder(Line)
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read(lines: Iterable[str], source: EventSource, defaults: Defaults = NO_DEFAULTS) -> Iterator[Numbered]:
    """The event of each line that is not blank. JSON if the first begins with a brace, else CSV with a header.

    A JSON line is a whole CloudEvent (it has `specversion`) or a flat record with the fields of `Line`, which are also
    the columns of a CSV.
    """
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    first = next(numbered, None)
    if first is None:
        return
    everything = chain([first], numbered)
    records = _json(everything) if first[1].lstrip().startswith("{") else _csv(everything)
    for number, record in records:
        try:
            yield Numbered(number, _event(record, source, defaults))
        except (msgspec.MsgspecError, EventRefusedError) as error:
            yield Numbered(number, None, str(error))


def _json(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    yield from lines


def _csv(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, dict[str, str]]]:
    number = 0

    def texts() -> Iterator[str]:
        nonlocal number
        for number, line in lines:  # noqa: B007 - told beside the record that ends on this line
            yield line

    for record in csv.DictReader(texts(), restkey="(a cell without a column)", skipinitialspace=True):
        yield number, {name: cell for name, cell in record.items() if cell}


def _event(record: str | dict[str, str], source: EventSource, defaults: Defaults) -> Event:
    if isinstance(record, dict):
        return _of_line(msgspec.convert(record, Line, strict=False), source, defaults)
    if "specversion" in _fields_decoder.decode(record):
        return _event_decoder.decode(record)
    return _of_line(_line_decoder.decode(record), source, defaults)


def _of_line(line: Line, source: EventSource, defaults: Defaults) -> Event:
    _refuse_strangers(line)
    event = _bare(line, source, line.time or defaults.time, line.id or defaults.event_id)
    return event if line.source is None else msgspec.structs.replace(event, source=line.source)


def _bare(line: Line, source: EventSource, time: datetime | None, event_id: str | None) -> Event:
    match line.type:
        case "call-placed":
            return source.call_placed(line.caller_id_id, line.group_id, line.lead_id, time=time, event_id=event_id)
        case "cooldown-cleared":
            return source.cooldown_cleared(line.caller_id_id, time=time, event_id=event_id)
        case "carrier-flag":
            if line.kind is None:
                raise EventRefusedError("a carrier-flag needs a kind")
            return source.carrier_flag(
                line.caller_id_id, line.kind, line.carrier, line.code, line.note, time=time, event_id=event_id
            )


def _refuse_strangers(line: Line) -> None:
    for field in ("group_id", "lead_id", "kind", "carrier", "code", "note"):
        if getattr(line, field) is not None and field not in _FIELDS[line.type]:
            raise EventRefusedError(f"a {line.type} has no {field}")
