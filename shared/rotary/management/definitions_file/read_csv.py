"""Caller IDs and their groups in CSV, as spreadsheets write it."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import UNSET, Struct, UnsetType

from rotary.definitions import Carrier, RotationStrategy, Status
from rotary.events import Timestamp
from rotary.management.definitions_file.mistakes import Locate, Mistakes
from rotary.management.definitions_file.schema import CustomerEntry, Definitions, MemberEntry
from rotary.management.fields import Count, DisplayName, MinGap, Name, Number, TrunkName, given

_FORMULA = tuple("=+-@\t\r\n'")
"""The characters that begin a formula in a spreadsheet, and the apostrophe that marks a cell as text."""


class CsvRow(Struct, frozen=True, forbid_unknown_fields=True):
    """One line: a caller ID, optionally as a member of a group.

    `customer` is an id or a name. An empty cell is the same as an absent one.
    """

    customer: Name
    number: Number
    display_name: DisplayName | UnsetType = UNSET
    carrier: Carrier | UnsetType = UNSET
    status: Status | UnsetType = UNSET
    trunk_name: TrunkName | UnsetType = UNSET
    daily_cap: Count | UnsetType = UNSET
    hourly_cap: Count | UnsetType = UNSET
    min_gap_seconds: MinGap | UnsetType = UNSET
    activated_at: Timestamp | UnsetType = UNSET
    group: Name | UnsetType = UNSET
    rotation_strategy: RotationStrategy | UnsetType = UNSET
    weight: Count | UnsetType = UNSET


COLUMNS = CsvRow.__struct_fields__


def read_csv(path: Path, text: str) -> tuple[Definitions, Locate]:
    """The definitions, and a function that finds the line of each. Raises InvalidFileError with every mistake."""
    mistakes = Mistakes()
    customers: dict[str, _Customer] = {}
    for line, row in _rows(text, mistakes):
        customer = customers.setdefault(row.customer, _Customer(line))
        if clash := customer.add(line, row):
            mistakes.add(f"@{line}", f"{clash}: differs from another line about {row.number}")
    entries = [entry for name, customer in customers.items() if (entry := customer.entry(name, mistakes))]
    locate = _locator(path, list(customers.values()))
    mistakes.raise_if_any(str(path), locate)
    return Definitions(customers=entries), locate


def _rows(text: str, mistakes: Mistakes) -> Iterator[tuple[int, CsvRow]]:
    """The rows with their line numbers."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = next(reader, [])
        if not _check_columns(columns, mistakes):
            return
        for cells in reader:
            if row := _row(columns, cells, f"@{reader.line_num}", mistakes):
                yield reader.line_num, row
    except csv.Error as error:
        mistakes.add(f"@{reader.line_num}", str(error))


def _check_columns(columns: list[str], mistakes: Mistakes) -> bool:
    before = mistakes.count
    for name in columns:
        if name not in COLUMNS:
            mistakes.add("@1", f"unknown column `{name}`; expected one of {', '.join(COLUMNS)}")
    for name in ("customer", "number"):
        if name not in columns:
            mistakes.add("@1", f"the column `{name}` is missing")
    if len(set(columns)) < len(columns):
        mistakes.add("@1", "a column is given twice")
    return mistakes.count == before


def _row(columns: list[str], cells: list[str], path: str, mistakes: Mistakes) -> CsvRow | None:
    if not any(cells):
        return None
    if len(cells) > len(columns):
        mistakes.add(path, "has more cells than the header")
        return None
    fields = {name: plain(name, cell) for name, cell in zip(columns, cells, strict=False) if cell}
    try:
        return msgspec.convert(fields, CsvRow, strict=False)
    except msgspec.ValidationError:
        mistakes.check(CsvRow, fields, path)
        return None


def plain(column: str, cell: str) -> str:
    """The cell without the apostrophe with which `formula_free`, or a spreadsheet, marks it as text."""
    if cell.startswith("'") and (column == "number" or cell[1:].startswith(_FORMULA)):
        return cell[1:]
    return cell


def formula_free(column: str, cell: object) -> object:
    """The cell, with an apostrophe in front if a spreadsheet would evaluate it. A phone number keeps its plain +."""
    text = str(cell)
    if cell is None or not text.startswith(_FORMULA) or (column == "number" and text[1:].isdecimal()):
        return cell
    return f"'{text}"


class _Customer:
    """The lines of one customer, merged, with the number of the first line about each caller ID, group and member."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.caller_id_lines: list[int] = []
        self.group_lines: list[int] = []
        self.member_lines: dict[str, list[int]] = {}
        self._caller_ids: dict[str, dict[str, object]] = {}
        self._groups: dict[str, dict[str, object]] = {}
        self._members: dict[str, dict[str, MemberEntry]] = {}

    def add(self, line: int, row: CsvRow) -> str | None:
        """Adds a line. Returns the column that contradicts an earlier line, if any."""
        if row.number not in self._caller_ids:
            self.caller_id_lines.append(line)
        if clash := _join(self._caller_ids.setdefault(row.number, {}), given(row, *_NOT_OF_CALLER_ID)):
            return clash
        return None if row.group is UNSET else self._add_member(line, row, row.group)

    def _add_member(self, line: int, row: CsvRow, group: str) -> str | None:
        if group not in self._groups:
            self.group_lines.append(line)
        fields = {"name": group, "rotation_strategy": row.rotation_strategy}
        stated: dict[str, object] = {name: value for name, value in fields.items() if value is not UNSET}
        members = self._members.setdefault(group, {})
        member = members.setdefault(row.number, MemberEntry(number=row.number, weight=row.weight))
        if len(members) > len(self.member_lines.setdefault(group, [])):
            self.member_lines[group].append(line)
        clash = _join(self._groups.setdefault(group, {}), stated)
        return "weight" if member.weight != row.weight else clash

    def entry(self, name: str, mistakes: Mistakes) -> CustomerEntry | None:
        """The customer as an entry of a YAML file."""
        known_by = {"id": name} if name.isascii() and name.isdecimal() else {"name": name}
        groups = [fields | {"members": list(self._members[group].values())} for group, fields in self._groups.items()]
        content = known_by | {"caller_ids": list(self._caller_ids.values()), "groups": groups}
        try:
            return msgspec.convert(content, CustomerEntry, strict=False)
        except msgspec.ValidationError as error:
            mistakes.add(f"@{self.line}", f"customer: {str(error).partition(' - at ')[0]}")
            return None


_NOT_OF_CALLER_ID = ("customer", "group", "rotation_strategy", "weight")


def _join(known: dict[str, object], more: dict[str, object]) -> str | None:
    for name, value in more.items():
        if known.setdefault(name, value) != value:
            return name
    return None


def _locator(file: Path, customers: list[_Customer]) -> Locate:
    def locate(path: str) -> str:
        """`@7.carrier` is a line and a column; anything else is a path in the definitions."""
        if path.startswith("@"):
            line, _, column = path[1:].partition(".")
            return f"{file}:{line}: {column}" if column else f"{file}:{line}"
        return f"{file}:{_line(customers, path)}"

    return locate


def _line(customers: list[_Customer], path: str) -> int:
    places = {name: int(place) for name, place in re.findall(r"(\w+)\[(\d+)\]", path)}
    customer = customers[places["customers"]]
    if "caller_ids" in places:
        return customer.caller_id_lines[places["caller_ids"]]
    if "members" in places:
        return list(customer.member_lines.values())[places["groups"]][places["members"]]
    return customer.group_lines[places["groups"]] if "groups" in places else customer.line
