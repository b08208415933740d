"""Caller IDs and their groups in CSV, as a spreadsheet writes it."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import UNSET, Struct, UnsetType

from rotary.definitions import Carrier, RotationStrategy, Status
from rotary.management.validation import Locate, Mistakes
from rotary.management.definitions_file.schema import (
    Count,
    CustomerEntry,
    Definitions,
    DisplayName,
    MemberEntry,
    Name,
    Number,
    TrunkName,
    given,
)

_FORMULA = tuple("=+-@\t\r\n'")
"""What a spreadsheet takes for a formula's beginning, and the apostrophe that says it is none."""


class CsvRow(Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a CSV file: a caller ID, perhaps in a group. A customer is an id or a name; an empty cell is none."""

    customer: Name
    number: Number
    display_name: DisplayName | UnsetType = UNSET
    carrier: Carrier | UnsetType = UNSET
    status: Status | UnsetType = UNSET
    trunk_name: TrunkName | UnsetType = UNSET
    daily_cap: Count | UnsetType = UNSET
    group: Name | UnsetType = UNSET
    rotation_strategy: RotationStrategy | UnsetType = UNSET
    weight: Count | UnsetType = UNSET


COLUMNS = CsvRow.__struct_fields__


def read_csv(path: Path, text: str) -> tuple[Definitions, Locate]:
    """The definitions, and which line each is from. Raises Failure with all that does not fit."""
    found = Mistakes()
    customers: dict[str, _Customer] = {}
    for line, row in _rows(text, found):
        customer = customers.setdefault(row.customer, _Customer(line))
        if clash := customer.add(line, row):
            found.add(f"@{line}", f"{clash}: another line says otherwise of {row.number}")
    entries = [entry for name, customer in customers.items() if (entry := customer.entry(name, found))]
    locate = _locator(path, list(customers.values()))
    found.refuse(str(path), locate)
    return Definitions(customers=entries), locate


def _rows(text: str, found: Mistakes) -> Iterator[tuple[int, CsvRow]]:
    """The rows with their lines; what is none goes into `found`."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = next(reader, [])
        if not _check_columns(columns, found):
            return
        for cells in reader:
            if row := _row(columns, cells, f"@{reader.line_num}", found):
                yield reader.line_num, row
    except csv.Error as error:
        found.add(f"@{reader.line_num}", str(error))


def _check_columns(columns: list[str], found: Mistakes) -> bool:
    before = found.count
    for name in columns:
        if name not in COLUMNS:
            found.add("@1", f"there is no column `{name}`; there are {', '.join(COLUMNS)}")
    for name in ("customer", "number"):
        if name not in columns:
            found.add("@1", f"the column `{name}` is missing")
    if len(set(columns)) < len(columns):
        found.add("@1", "a column stands there twice")
    return found.count == before


def _row(columns: list[str], cells: list[str], where: str, found: Mistakes) -> CsvRow | None:
    if not any(cells):
        return None
    if len(cells) > len(columns):
        found.add(where, "more cells than the first line has columns")
        return None
    fields = {name: plain(name, cell) for name, cell in zip(columns, cells, strict=False) if cell}
    try:
        return msgspec.convert(fields, CsvRow, strict=False)
    except msgspec.ValidationError:
        found.check(CsvRow, fields, where)
        return None


def plain(column: str, cell: str) -> str:
    """The cell without the apostrophe by which `formula_free`, or a spreadsheet, says that it is no formula."""
    if cell.startswith("'") and (column == "number" or cell[1:].startswith(_FORMULA)):
        return cell[1:]
    return cell


def formula_free(column: str, cell: object) -> object:
    """The cell, behind an apostrophe where a spreadsheet would evaluate it. A number of digits keeps its bare +."""
    text = str(cell)
    if cell is None or not text.startswith(_FORMULA) or (column == "number" and text[1:].isdecimal()):
        return cell
    return f"'{text}"


class _Customer:
    """What the lines of one customer say together, and the first line of each thing they say."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.caller_lines: list[int] = []
        self.group_lines: list[int] = []
        self.member_lines: dict[str, list[int]] = {}
        self._callers: dict[str, dict[str, object]] = {}
        self._groups: dict[str, dict[str, object]] = {}
        self._members: dict[str, dict[str, MemberEntry]] = {}

    def add(self, line: int, row: CsvRow) -> str | None:
        """Takes a line in; returns the column that contradicts an earlier one."""
        if row.number not in self._callers:
            self.caller_lines.append(line)
        if clash := _join(self._callers.setdefault(row.number, {}), given(row, *_NO_CALLERS)):
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

    def entry(self, name: str, found: Mistakes) -> CustomerEntry | None:
        """The same as an entry of a YAML file."""
        known_by = {"id": name} if name.isascii() and name.isdecimal() else {"name": name}
        groups = [fields | {"members": list(self._members[group].values())} for group, fields in self._groups.items()]
        content = known_by | {"caller_ids": list(self._callers.values()), "groups": groups}
        try:
            return msgspec.convert(content, CustomerEntry, strict=False)
        except msgspec.ValidationError as error:
            found.add(f"@{self.line}", f"customer: {str(error).partition(' - at ')[0]}")
            return None


_NO_CALLERS = ("customer", "group", "rotation_strategy", "weight")


def _join(known: dict[str, object], more: dict[str, object]) -> str | None:
    for name, value in more.items():
        if known.setdefault(name, value) != value:
            return name
    return None


def _locator(path: Path, customers: list[_Customer]) -> Locate:
    def locate(where: str) -> str:
        """`@7.carrier` is a line and its column; anything else a place among the definitions."""
        if where.startswith("@"):
            line, _, column = where[1:].partition(".")
            return f"{path}:{line}: {column}" if column else f"{path}:{line}"
        return f"{path}:{_line(customers, where)}"

    return locate


def _line(customers: list[_Customer], where: str) -> int:
    places = {name: int(place) for name, place in re.findall(r"(\w+)\[(\d+)\]", where)}
    customer = customers[places["customers"]]
    if "caller_ids" in places:
        return customer.caller_lines[places["caller_ids"]]
    if "members" in places:
        return list(customer.member_lines.values())[places["groups"]][places["members"]]
    return customer.group_lines[places["groups"]] if "groups" in places else customer.line
