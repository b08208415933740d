"""Every mistake in what was read from a file, each with where it is and what would be right."""

from collections.abc import Callable, Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Struct, UnsetType

from rotary.management.definitions_file.schema import DisplayName, Name, Number, TrunkName
from rotary.runtime.cli import Failure

_SHOWN = 100
_CONTROL = "holds a line break or another control character"
_DIGITS = "is not a phone number: expected 3 to 20 digits, with or without a leading +"
_FLOAT = (
    "is a decimal, as a spreadsheet writes a long number, and digits or a leading 0 may be lost: "
    "format the column as text and enter the number again"
)

Locate = Callable[[str], str]
"""Finds a place, such as `.customers[0].name`, in the file: `definitions.yaml:12: customers[0].name`."""


class Mistakes:
    """Collects mistakes by place; counts them all and keeps the first hundred."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[tuple[str, str]] = []

    def add(self, where: str, what: str) -> None:
        self.count += 1
        if self.count <= _SHOWN:
            self._first.append((where, what))

    def check(self, kind: Any, value: object, where: str) -> None:
        """Adds everything that keeps `value` from being a `kind`. Any: a type as msgspec takes it."""
        for place, what in mistakes(kind, value, where):
            self.add(place, what)

    def refuse(self, file: str, locate: Locate) -> None:
        """Raises Failure if there are any."""
        lines = [f"{locate(where)}: {what}" for where, what in self._first]
        if self.count == 1:
            raise Failure(lines[0])
        if lines:
            first = f"; the first {_SHOWN}" if self.count > _SHOWN else ""
            raise Failure(f"{file}: {self.count:,} mistakes, nothing was changed{first}:\n" + "\n".join(lines))


def mistakes(kind: Any, value: object, where: str) -> Iterator[tuple[str, str]]:
    """(place, what is wrong there) for everything that keeps `value` from being a `kind`."""
    try:
        msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        found = list(_inside(kind, value, where))
        yield from found or [(where, explained(kind, value, str(error)))]


def _inside(kind: Any, value: object, where: str) -> Iterator[tuple[str, str]]:
    for option in _options(kind):
        if isinstance(value, dict) and isinstance(option, type) and issubclass(option, Struct):
            yield from _fields(option, value, where)
        elif isinstance(value, list) and get_origin(option) is list:
            (item,) = get_args(option)
            for place, each in enumerate(value):
                yield from mistakes(item, each, f"{where}[{place}]")


def _fields(kind: type[Struct], value: dict[object, object], where: str) -> Iterator[tuple[str, str]]:
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    for name in value:
        if name not in fields:
            yield where, f"Object contains unknown field `{name}`; there are {', '.join(fields)}"
    for name, field in fields.items():
        if name in value:
            yield from mistakes(field.type, value[name], f"{where}.{name}")
        elif field.required:
            yield where, f"Object missing required field `{name}`"


def explained(kind: Any, value: object, message: str) -> str:
    """msgspec's message in the words of somebody who fills in a table, with the values that are allowed."""
    options = list(_options(kind))
    text = str(value).strip()
    if Number in options and isinstance(value, str):
        return f"{_short(value)} {_FLOAT if _is_decimal(text) else _DIGITS}"
    if any(option in (Name, DisplayName, TrunkName) for option in options) and "regex" in message:
        return f"{_short(value)} {_CONTROL}"
    allowed = [choice for option in options if get_origin(option) is Literal for choice in get_args(option)]
    what = message.partition(" - at `")[0]
    return f"{what}; expected one of {', '.join(allowed)}" if allowed else what


def _is_decimal(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return any(letter in text.lower() for letter in ".,en")


def _short(value: object) -> str:
    return ascii(value) if len(str(value)) <= 60 else f"{str(value)[:60]!a}…"


def _options(kind: Any) -> Iterator[Any]:
    """The types that a value may have, null and "not given" aside."""
    if get_origin(kind) in (Union, UnionType):
        for option in get_args(kind):
            yield from _options(option)
    elif get_origin(kind) is Annotated and get_origin(get_args(kind)[0]) in (Union, UnionType):
        yield from _options(get_args(kind)[0])
    elif kind not in (None, type(None), UnsetType):
        yield kind
