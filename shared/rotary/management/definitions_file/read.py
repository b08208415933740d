"""Files of definitions, checked before anything is written; all that is wrong is told with file, line and field."""

from collections.abc import Iterable
from pathlib import Path
from zoneinfo import available_timezones

from msgspec import UNSET, Struct

from rotary.management.validation import Locate, Mistakes
from rotary.management.definitions_file.schema import CustomerEntry, Definitions, members_of
from rotary.runtime.cli import Failure
from rotary.management.definitions_file.read_csv import read_csv
from rotary.management.definitions_file.read_yaml import read_yaml


class Source(Struct, frozen=True):
    """What a file asks for. `exact_members`: a group's members in the file are all it shall have."""

    file: str
    definitions: Definitions
    exact_members: bool
    locate: Locate

    @property
    def rows(self) -> int:
        """How many caller IDs and members it names."""
        customers = self.definitions.customers
        members = sum(len(members_of(group)) for customer in customers for group in customer.groups)
        return members + sum(len(customer.caller_ids) for customer in customers)


def read_source(path: Path) -> Source:
    """Reads a `.csv` file, or YAML under any other name. Raises Failure with all that does not fit, by line."""
    is_csv = path.suffix.lower() == ".csv"
    definitions, locate = (read_csv if is_csv else read_yaml)(path, _text(path))
    found = Mistakes()
    _check_repeated(definitions, found)
    _check_timezones(definitions, found)
    found.refuse(str(path), locate)
    return Source(str(path), definitions, exact_members=not is_csv, locate=locate)


def _text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")  # spreadsheets write the mark
    except UnicodeDecodeError:
        kind = "UTF-16: convert it first, as by iconv -f UTF-16 -t UTF-8" if content[:1] in b"\xff\xfe" else "not UTF-8"
        raise Failure(f"{path} is {kind}") from None


def _check_repeated(definitions: Definitions, found: Mistakes) -> None:
    """What stands in the file twice: the later would undo the earlier on every import."""
    _check_twice(".customers", (entry.id or entry.name for entry in definitions.customers), found)
    for place, customer in enumerate(definitions.customers):
        where = f".customers[{place}]"
        _check_twice(f"{where}.caller_ids", (entry.number for entry in customer.caller_ids), found)
        _check_twice(f"{where}.caller_ids", (entry.id for entry in customer.caller_ids), found)
        _check_twice(f"{where}.groups", (entry.name for entry in customer.groups), found)
        _check_twice(f"{where}.groups", (entry.id for entry in customer.groups), found)
        for row, group in enumerate(customer.groups):
            _check_twice(f"{where}.groups[{row}].members", (member.number for member in members_of(group)), found)


def _check_twice(where: str, keys: Iterable[object], found: Mistakes) -> None:
    seen = set[object]()
    for place, key in enumerate(keys):
        if key in seen and key is not UNSET:
            found.add(f"{where}[{place}]", f"{key} stands in the file twice")
        seen.add(key)


def _check_timezones(definitions: Definitions, found: Mistakes) -> None:
    known = available_timezones()
    for place, customer in enumerate(definitions.customers):
        # Where the machine has no list of zones the database decides alone.
        if known and _zone(customer) not in known:
            told = f'"{customer.timezone}" is no IANA time zone: give a name such as Asia/Ho_Chi_Minh or UTC'
            found.add(f".customers[{place}].timezone", told)


def _zone(customer: CustomerEntry) -> str:
    return "UTC" if customer.timezone is UNSET else customer.timezone
