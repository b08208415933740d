"""Files of definitions, checked before anything is written; what is wrong is told with file, line and field."""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import yaml
from msgspec import UNSET, Struct, UnsetType

from rotary.definitions import Carrier, RotationStrategy, Status
from rotary_admin.document import (
    Count,
    CustomerEntry,
    Definitions,
    DisplayName,
    GroupEntry,
    MemberEntry,
    Name,
    Number,
    TrunkName,
    given,
)
from rotary_admin.program import Failure


class Source(Struct, frozen=True):
    """What a file asks for. `exact_members`: a group's members in the file are all it shall have."""

    definitions: Definitions
    exact_members: bool


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


def read_source(path: Path) -> Source:
    """Reads a `.csv` file, or YAML under any other name. Raises Failure for what does not fit, naming file and line."""
    try:
        text = path.read_text("utf-8-sig")  # spreadsheets write the mark
    except UnicodeDecodeError:
        raise Failure(f"{path} is not UTF-8 text") from None
    if path.suffix.lower() == ".csv":
        return Source(_read_csv(path, text), exact_members=False)
    return Source(_read_yaml(path, text), exact_members=True)


class _Loader(yaml.SafeLoader):
    """All plain scalars but null are text, and the types are the entries': a number keeps its + and its leading 0."""

    yaml_implicit_resolvers = {  # noqa: RUF012  it is how PyYAML is told
        first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] in ("null", "merge")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _read_yaml(path: Path, text: str) -> Definitions:
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        content = {"customers": []} if root is None else loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise Failure(f"{path}:{line}: {error.problem or error}") from None
    except yaml.YAMLError as error:
        raise Failure(f"{path}: {error}") from None
    try:
        definitions = msgspec.convert(content, Definitions, strict=False)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        raise _refused(path, root, where.rstrip("`"), what) from None
    for where, what in _repeated(definitions):
        raise _refused(path, root, where, what)
    return definitions


def _refused(path: Path, root: yaml.Node | None, where: str, what: str) -> Failure:
    place = f"{path}:{_line(root, where)}" if root else str(path)
    return Failure(f"{place}: {where.lstrip('.')}: {what}" if where else f"{place}: {what}")


def _line(node: yaml.Node, where: str) -> int:
    for field, position in re.findall(r"\.(\w+)|\[(\d+)\]", where):
        if isinstance(node, yaml.SequenceNode):
            node = node.value[int(position)]
        elif isinstance(node, yaml.MappingNode):
            node = next((value for key, value in node.value if key.value == field), node)
    return int(node.start_mark.line) + 1


def _repeated(definitions: Definitions) -> Iterator[tuple[str, str]]:
    """What stands in the file twice: the later would undo the earlier on every import."""
    yield from _twice(".customers", (entry.id or entry.name for entry in definitions.customers))
    for place, customer in enumerate(definitions.customers):
        where = f".customers[{place}]"
        yield from _twice(f"{where}.caller_ids", (entry.number for entry in customer.caller_ids))
        yield from _twice(f"{where}.groups", (entry.name for entry in customer.groups))
        for row, group in enumerate(customer.groups):
            yield from _twice(f"{where}.groups[{row}].members", (entry.number for entry in members_of(group)))


def _twice(where: str, keys: Iterable[object]) -> Iterator[tuple[str, str]]:
    seen = set[object]()
    for place, key in enumerate(keys):
        if key in seen:
            yield f"{where}[{place}]", f"{key} stands in the file twice"
        seen.add(key)


def members_of(group: GroupEntry) -> list[MemberEntry]:
    """The members a group is given; none when it does not say."""
    members = [] if group.members is UNSET else group.members
    return [MemberEntry(number=member) if isinstance(member, str) else member for member in members]


def _read_csv(path: Path, text: str) -> Definitions:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    customers: dict[str, _CsvCustomer] = {}
    try:
        for cells in reader:
            row = _csv_row(path, reader.line_num, cells)
            customer = customers.setdefault(row.customer, _CsvCustomer({}, {}, {}))
            if clash := customer.add(row):
                raise Failure(f"{path}:{reader.line_num}: {clash}: another line says otherwise of {row.number}")
    except csv.Error as error:
        raise Failure(f"{path}:{reader.line_num}: {error}") from None
    return Definitions(customers=[customer.entry(name) for name, customer in customers.items()])


def _csv_row(path: Path, line: int, cells: dict[str | None, object]) -> CsvRow:
    if None in cells:
        raise Failure(f"{path}:{line}: more cells than the first line has columns")
    try:
        return msgspec.convert({name: cell for name, cell in cells.items() if cell}, CsvRow, strict=False)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        raise Failure(f"{path}:{line}: {where.rstrip('`') + ': ' if where else ''}{what}") from None


class _CsvCustomer(Struct):
    """What the lines of one customer say together."""

    callers: dict[str, dict[str, object]]
    groups: dict[str, dict[str, object]]
    members: dict[str, dict[str, MemberEntry]]

    def add(self, row: CsvRow) -> str | None:
        """Takes a line in; returns the column that contradicts an earlier one."""
        caller = given(row, "customer", "group", "rotation_strategy", "weight")
        if clash := _join(self.callers.setdefault(row.number, {}), caller):
            return clash
        if row.group is UNSET:
            return None
        self.members.setdefault(row.group, {})[row.number] = MemberEntry(number=row.number, weight=row.weight)
        group = {"name": row.group, "rotation_strategy": row.rotation_strategy}
        return _join(self.groups.setdefault(row.group, {}), {name: v for name, v in group.items() if v is not UNSET})

    def entry(self, name: str) -> CustomerEntry:
        """The same as an entry of a YAML file."""
        known_by = {"id": name} if name.isdecimal() else {"name": name}
        groups = [fields | {"members": list(self.members[group].values())} for group, fields in self.groups.items()]
        return msgspec.convert(
            known_by | {"caller_ids": list(self.callers.values()), "groups": groups}, CustomerEntry, strict=False
        )


def _join(known: dict[str, object], more: dict[str, object]) -> str | None:
    for name, value in more.items():
        if known.setdefault(name, value) != value:
            return name
    return None
