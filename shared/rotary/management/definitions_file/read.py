"""Reads a definitions file and checks it; every mistake is reported with file, line and field."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from msgspec import UNSET, Struct

from rotary.management.definitions_file.mistakes import InvalidFileError, Locate, Mistakes, Place
from rotary.management.definitions_file.read_csv import read_csv
from rotary.management.definitions_file.read_yaml import read_yaml
from rotary.management.definitions_file.schema import Definitions, members_of
from rotary.management.fields import timezone_problem

Format = Literal["csv", "yaml"]


class Source(Struct, frozen=True):
    """A file that was read. `exact_members`: a group's list in the file is complete, so other members are removed."""

    file: str
    definitions: Definitions
    exact_members: bool
    locate: Locate
    owner: int | None = None
    """The customer that the file may be about; None for all."""

    @property
    def rows(self) -> int:
        """The number of caller IDs and members in the file."""
        customers = self.definitions.customers
        members = sum(len(members_of(group)) for customer in customers for group in customer.groups)
        return members + sum(len(customer.caller_ids) for customer in customers)


def read_source(path: Path) -> Source:
    """Reads CSV if the name ends in `.csv`, else YAML. Raises InvalidFileError with every mistake and its line."""
    return read_content(str(path), path.read_bytes(), "csv" if path.suffix.lower() == ".csv" else "yaml")


def read_content(name: str, content: bytes, form: Format, owner: int | None = None) -> Source:
    """Reads a file's content. `owner`: it may be about this customer only, and need not name it.

    Raises InvalidFileError with every mistake and its line.
    """
    text = _text(name, content)
    is_csv = form == "csv"
    definitions, locate = read_csv(name, text, owner) if is_csv else read_yaml(name, text)
    mistakes = Mistakes()
    _check_duplicates(definitions, mistakes)
    _check_timezones(definitions, mistakes)
    mistakes.raise_if_any(name, locate)
    return Source(name, definitions, exact_members=not is_csv, locate=locate, owner=owner)


def _text(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")  # Spreadsheets write a byte order mark.
    except UnicodeDecodeError:
        is_utf16 = content[:1] in b"\xff\xfe"
        utf16 = "the file is UTF-16: convert it first, such as with iconv -f UTF-16 -t UTF-8"
        detail = utf16 if is_utf16 else "the file is not UTF-8"
        raise InvalidFileError(name, 1, [(Place(name), detail)]) from None


def _check_duplicates(definitions: Definitions, mistakes: Mistakes) -> None:
    """Refuses what is in the file twice: the second entry would undo the first on every import."""
    _check_unique(".customers", (entry.id or entry.name for entry in definitions.customers), mistakes)
    for index, customer in enumerate(definitions.customers):
        path = f".customers[{index}]"
        _check_unique(f"{path}.caller_ids", (entry.number for entry in customer.caller_ids), mistakes)
        _check_unique(f"{path}.caller_ids", (entry.id for entry in customer.caller_ids), mistakes)
        _check_unique(f"{path}.groups", (entry.name for entry in customer.groups), mistakes)
        _check_unique(f"{path}.groups", (entry.id for entry in customer.groups), mistakes)
        for row, group in enumerate(customer.groups):
            _check_unique(f"{path}.groups[{row}].members", (member.number for member in members_of(group)), mistakes)


def _check_unique(path: str, keys: Iterable[object], mistakes: Mistakes) -> None:
    seen = set[object]()
    for index, key in enumerate(keys):
        if key in seen and key is not UNSET:
            mistakes.add(f"{path}[{index}]", f"{key} is in the file twice")
        seen.add(key)


def _check_timezones(definitions: Definitions, mistakes: Mistakes) -> None:
    for index, customer in enumerate(definitions.customers):
        if problem := timezone_problem(customer.timezone):
            mistakes.add(f".customers[{index}].timezone", problem)
