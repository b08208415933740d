"""Reads events from lines of JSON, or from CSV with a header: the forms that a script can write.

Every line that is not blank comes back once: as an event, or with the reason why it is none. Input in neither form is
refused as a whole, so that nothing is ever taken for a header and skipped.
"""

import codecs
import csv
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from msgspec import Struct

from rotary.errors import EventRefusedError, RotaryError
from rotary.events import Event, EventType, FlagKind, Id, Text, Timestamp
from rotary.publisher import EventFactory

_FIELDS: dict[EventType, frozenset[str]] = {
    "call-placed": frozenset({"group_id", "lead_id"}),
    "carrier-flag": frozenset({"kind", "carrier", "code", "note"}),
    "cooldown-cleared": frozenset(),
}
_EXPECTED = "expected a JSON object on every line, or a CSV header with the columns type and caller_id_id"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # UTF-32's begin with the same bytes


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


COLUMNS = Line.__struct_fields__
_REQUIRED = ("type", "caller_id_id")


class NotUnderstoodError(RotaryError):
    """The input is in no form that is read here, or holds no event; `reason` names the line and what was expected.

    `read` are the lines that were read to see that.
    """

    def __init__(self, reason: str, read: Sequence[bytes] = ()) -> None:
        super().__init__(reason, read)
        self.reason = reason
        self.read = read


class Numbered(NamedTuple):
    """A line with its number from 1, as it was read, and its event; or the reason why it has none."""

    number: int
    raw: bytes
    event: Event | None
    reason: str = ""


class Defaults(NamedTuple):
    """What an event has that does not say: its time, and an id made of `name`. None means now, and a new id."""

    name: str | None = None
    time: datetime | None = None

    def event_id(self, place: int) -> str | None:
        """The id of the input's event at `place`, from 1. No name of a file holds a slash, so none meets another."""
        return self.name if self.name is None or place == 1 else f"{self.name}/{place}"


NO_DEFAULTS = Defaults()
_event_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_line_decoder = msgspec.json.Decoder(Line)
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Lines:
    """The events of `lines`, which keep their line ends. Iterate once.

    A JSON line is a whole CloudEvent (it has `specversion`) or a flat record with the fields of `Line`, which are also
    the columns of a CSV; a CSV record is one line. Raises NotUnderstoodError before the first line comes back.
    """

    def __init__(self, lines: Iterable[bytes], source: EventFactory, defaults: Defaults = NO_DEFAULTS) -> None:
        self.header = b""
        """A CSV's first line, once it was read: lines that are set aside are read again behind it."""
        self._lines = lines
        self._source = source
        self._defaults = defaults

    def __iter__(self) -> Iterator[Numbered]:
        numbered = ((number, line) for number, line in enumerate(self._lines, 1) if line.strip())
        first = next(numbered, None)
        if first is None:
            raise NotUnderstoodError(f"it is empty; {_EXPECTED}")
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
            raise NotUnderstoodError("it holds a CSV header and no event", [self.header])

    def _read(self, number: int, raw: bytes, columns: Sequence[str] | None, place: int) -> Numbered:
        try:
            text = _text(number, raw)
            record = text if columns is None else _cells(text, columns)
            return Numbered(number, raw, self._event(record, place))
        except UnicodeDecodeError:
            return Numbered(number, raw, None, "it is not UTF-8")
        except RecursionError:
            return Numbered(number, raw, None, "it is nested too deeply")
        # OverflowError and ValueError: what the json and datetime of C make of numbers without end.
        except (msgspec.MsgspecError, EventRefusedError, csv.Error, ValueError, OverflowError) as error:
            return Numbered(number, raw, None, str(error))

    def _event(self, record: str | dict[str, str], place: int) -> Event:
        if isinstance(record, dict):
            return self._of_line(msgspec.convert(record, Line, strict=False), place)
        if "specversion" in _fields_decoder.decode(record):
            return _event_decoder.decode(record)
        return self._of_line(_line_decoder.decode(record), place)

    def _of_line(self, line: Line, place: int) -> Event:
        _refuse_strangers(line)
        time, event_id = line.time or self._defaults.time, line.id or self._defaults.event_id(place)
        event = _bare(line, self._source, time, event_id)
        return event if line.source is None else msgspec.structs.replace(event, source=line.source)


def _columns(number: int, raw: bytes) -> list[str] | None:
    """The columns that the first line names; None when it is a JSON object. Raises NotUnderstoodError for all else."""
    if raw.startswith(_UTF16):
        raise NotUnderstoodError("it is UTF-16; convert it first: iconv -f UTF-16 -t UTF-8", [raw])
    try:
        text = _text(number, raw)
        if text.lstrip().startswith("{"):
            _fields_decoder.decode(text)
            return None
        return _header(text)
    except UnicodeDecodeError:
        raise NotUnderstoodError(f"line {number} is not UTF-8; {_EXPECTED}", [raw]) from None
    except csv.Error as error:
        reason = f"line {number}: it is no JSON object, and no CSV ({error}); {_EXPECTED}"
        raise NotUnderstoodError(reason, [raw]) from None
    except (msgspec.MsgspecError, EventRefusedError, RecursionError) as error:
        raise NotUnderstoodError(f"line {number}: {error}; {_EXPECTED}", [raw]) from None


def _header(text: str) -> list[str]:
    columns = [name.strip() for name in _split(text)]
    if unknown := [name for name in columns if name not in COLUMNS]:
        raise EventRefusedError(f"it is no JSON object, and {unknown[0][:40]!r} is no column")
    if missing := [name for name in _REQUIRED if name not in columns]:
        raise EventRefusedError(f"the column {missing[0]} is missing")
    if len(set(columns)) < len(columns):
        raise EventRefusedError("a column stands in it twice")
    _require_end(text)
    return columns


def _text(number: int, raw: bytes) -> str:
    if b"\0" in raw:
        raise EventRefusedError("it holds NUL bytes, as a file that was being written in a crash does")
    return raw.decode("utf-8-sig" if number == 1 else "utf-8")


def _cells(text: str, columns: Sequence[str]) -> dict[str, str]:
    cells = _split(text)
    if len(cells) != len(columns):
        raise EventRefusedError(f"it has {len(cells)} cells where the header has {len(columns)} columns")
    _require_end(text)
    return {name: cell for name, cell in zip(columns, cells, strict=True) if cell}


def _split(text: str) -> list[str]:
    return next(csv.reader([text], skipinitialspace=True, strict=True), [])


def _require_end(text: str) -> None:
    # A JSON object says where it ends. A cell does not: 1812 cut after two digits is another caller ID.
    if not text.endswith("\n"):
        raise EventRefusedError("the last line has no line end, so it may have been cut off; end it with one")


def _bare(line: Line, source: EventFactory, time: datetime | None, event_id: str | None) -> Event:
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
