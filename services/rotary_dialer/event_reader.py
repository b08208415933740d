"""Reads events from JSON lines, or from CSV with a header.

Every line that is not blank is returned once: with its event, or with the reason why it has none. Input that is neither
JSON lines nor CSV is rejected as a whole, so that no line is mistaken for a header and skipped.
"""

import codecs
import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from msgspec import Struct

from rotary.errors import EventRefusedError, RotaryError
from rotary.events import EVENTS, Event, EventType, FlagKind, Id, PickId, Text, Timestamp
from rotary.publisher import EventFactory

_CALLER = "caller_id_id"
_FIELDS: Mapping[EventType, frozenset[str]] = {
    kind: frozenset(spec.data_fields) - {_CALLER} for kind, spec in EVENTS.items()
}
"""The fields of each type, besides the caller ID that all have."""
_EXPECTED = "expected a JSON object on every line, or a CSV header with the columns type and caller_id_id"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # the marks of UTF-32 begin with the same bytes


class EventRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """An event as a flat record. Fields that its type lacks stay empty. `time`, `id` and `source` have defaults."""

    type: EventType
    caller_id_id: Id
    group_id: Id | None = None
    lead_id: str | None = None
    pick_id: PickId | None = None
    kind: FlagKind | None = None
    carrier: str | None = None
    code: str | int | None = None
    note: str | None = None
    time: Timestamp | None = None
    id: Text | None = None
    source: Text | None = None


COLUMNS = EventRecord.__struct_fields__
_DATA_COLUMNS = [name for name in COLUMNS if any(name in fields for fields in _FIELDS.values())]
_REQUIRED = ("type", _CALLER)


class InputFormatError(RotaryError):
    """The input is neither JSON lines nor CSV, or is empty; `reason` names the line and what was expected.

    `read` holds the lines that were read so far.
    """

    def __init__(self, reason: str, read: Sequence[bytes] = ()) -> None:
        super().__init__(reason, read)
        self.reason = reason
        self.read = read


class InputLine(NamedTuple):
    """A line as it was read, its number from 1, and its event. Without an event, `reason` says why."""

    number: int
    raw: bytes
    event: Event | None
    reason: str = ""


class EventDefaults(NamedTuple):
    """Defaults for events without a time or an id. None stands for now, and for a new id."""

    id_prefix: str | None = None
    time: datetime | None = None

    def event_id(self, place: int) -> str | None:
        """The id of the event at `place` in the input, from 1. File names hold no slash, so ids never collide."""
        return self.id_prefix if self.id_prefix is None or place == 1 else f"{self.id_prefix}/{place}"


NO_DEFAULTS = EventDefaults()
_event_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_record_decoder = msgspec.json.Decoder(EventRecord)
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


class EventReader:
    """Reads the events of `lines`, which keep their line ends. Iterate it once.

    A JSON line is a whole CloudEvent, which has `specversion`, or a flat record with the fields of `EventRecord`. The
    same fields are the columns of a CSV, where each record is one line. Raises InputFormatError before it returns the
    first line.
    """

    def __init__(self, lines: Iterable[bytes], events: EventFactory, defaults: EventDefaults = NO_DEFAULTS) -> None:
        self.header = b""
        """The first line of a CSV, once it was read. A file of rejected lines needs it to be read again."""
        self._lines = lines
        self._events = events
        self._defaults = defaults

    def __iter__(self) -> Iterator[InputLine]:
        numbered = ((number, line) for number, line in enumerate(self._lines, 1) if line.strip())
        first = next(numbered, None)
        if first is None:
            raise InputFormatError(f"the input is empty; {_EXPECTED}")
        columns = _columns(*first)
        if columns is None:
            yield self._read(*first, None, 1)
        else:
            self.header = first[1]
        place = 1 if columns is None else 0
        for number, line in numbered:
            place += 1
            yield self._read(number, line, columns, place)
        if not place:
            raise InputFormatError("the input has a CSV header and no event", [self.header])

    def _read(self, number: int, raw: bytes, columns: Sequence[str] | None, place: int) -> InputLine:
        try:
            text = _text(number, raw)
            record = text if columns is None else _cells(text, columns)
            return InputLine(number, raw, self._event(record, place))
        except UnicodeDecodeError:
            return InputLine(number, raw, None, "the line is not UTF-8")
        except RecursionError:
            return InputLine(number, raw, None, "the line is nested too deeply")
        # OverflowError and ValueError: raised for numbers that are far too large.
        except (msgspec.MsgspecError, EventRefusedError, csv.Error, ValueError, OverflowError) as error:
            return InputLine(number, raw, None, str(error))

    def _event(self, record: str | dict[str, str], place: int) -> Event:
        if isinstance(record, dict):
            return self._from_record(msgspec.convert(record, EventRecord, strict=False), place)
        if "specversion" in _fields_decoder.decode(record):
            return _event_decoder.decode(record)
        return self._from_record(_record_decoder.decode(record), place)

    def _from_record(self, record: EventRecord, place: int) -> Event:
        _reject_foreign_fields(record)
        time, event_id = record.time or self._defaults.time, record.id or self._defaults.event_id(place)
        event = _make_event(record, self._events, time, event_id)
        return event if record.source is None else msgspec.structs.replace(event, source=record.source)


def _columns(number: int, raw: bytes) -> list[str] | None:
    """The columns named by the first line, or None if that is a JSON object. Otherwise raises InputFormatError."""
    if raw.startswith(_UTF16):
        raise InputFormatError("the input is UTF-16; convert it first: iconv -f UTF-16 -t UTF-8", [raw])
    try:
        text = _text(number, raw)
        if text.lstrip().startswith("{"):
            _fields_decoder.decode(text)
            return None
        return _header(text)
    except UnicodeDecodeError:
        raise InputFormatError(f"line {number} is not UTF-8; {_EXPECTED}", [raw]) from None
    except csv.Error as error:
        reason = f"line {number} is neither a JSON object nor CSV ({error}); {_EXPECTED}"
        raise InputFormatError(reason, [raw]) from None
    except (msgspec.MsgspecError, EventRefusedError, RecursionError) as error:
        raise InputFormatError(f"line {number}: {error}; {_EXPECTED}", [raw]) from None


def _header(text: str) -> list[str]:
    columns = [name.strip() for name in _split(text)]
    if unknown := [name for name in columns if name not in COLUMNS]:
        raise EventRefusedError(f"not a JSON object, and {unknown[0][:40]!r} is not a column")
    if missing := [name for name in _REQUIRED if name not in columns]:
        raise EventRefusedError(f"the column {missing[0]} is missing")
    if len(set(columns)) < len(columns):
        raise EventRefusedError("a column appears twice")
    _require_end(text)
    return columns


def _text(number: int, raw: bytes) -> str:
    if b"\0" in raw:
        raise EventRefusedError("the line contains NUL bytes, perhaps from a crash during writing")
    return raw.decode("utf-8-sig" if number == 1 else "utf-8")


def _cells(text: str, columns: Sequence[str]) -> dict[str, str]:
    cells = _split(text)
    if len(cells) != len(columns):
        raise EventRefusedError(f"the line has {len(cells)} cells, but the header has {len(columns)} columns")
    _require_end(text)
    return {name: cell for name, cell in zip(columns, cells, strict=True) if cell}


def _split(text: str) -> list[str]:
    return next(csv.reader([text], skipinitialspace=True, strict=True), [])


def _require_end(text: str) -> None:
    # A cut JSON object is invalid. A cut cell is not: 1812 cut after two digits is another caller ID.
    if not text.endswith("\n"):
        raise EventRefusedError("the last line has no line end and may be cut off; add a line end")


def _make_event(record: EventRecord, events: EventFactory, time: datetime | None, event_id: str | None) -> Event:
    match record.type:
        case "call-placed":
            return events.call_placed(
                record.caller_id_id,
                record.group_id,
                record.lead_id,
                pick_id=record.pick_id,
                time=time,
                event_id=event_id,
            )
        case "cooldown-cleared":
            return events.cooldown_cleared(record.caller_id_id, time=time, event_id=event_id)
        case "carrier-flag":
            if record.kind is None:
                raise EventRefusedError("a carrier-flag needs a kind")
            return events.carrier_flag(
                record.caller_id_id, record.kind, record.carrier, record.code, record.note, time=time, event_id=event_id
            )


def _reject_foreign_fields(record: EventRecord) -> None:
    for field in _DATA_COLUMNS:
        if getattr(record, field) is not None and field not in _FIELDS[record.type]:
            raise EventRefusedError(f"a {record.type} has no {field}")
