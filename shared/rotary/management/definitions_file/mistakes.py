"""The mistakes of a file, each with its place, collected so that all are reported at once."""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from rotary.management.errors import InvalidError, Violation
from rotary.management.validation import violations_of

MAX_REPORTED = 100


class Place(Struct, frozen=True):
    """Where in a file: its name, the line if there is one, and the field."""

    file: str
    line: int | None = None
    field: str = ""

    def __str__(self) -> str:
        """`definitions.yaml:12: customers[0].name`."""
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.field}" if self.field else where


Locate = Callable[[str], Place]
"""Finds a path, such as `.customers[0].name`, in the file."""


class InvalidFileError(InvalidError):
    """A file has mistakes. `count` is their number; `mistakes` and `violations` hold the first hundred."""

    def __init__(self, file: str, count: int, mistakes: list[tuple[Place, str]]) -> None:
        super().__init__(*(Violation(str(place), detail) for place, detail in mistakes))
        self.file = file
        self.count = count
        self.mistakes = mistakes

    def __str__(self) -> str:
        lines = [f"{each.field}: {each.detail}" for each in self.violations]
        if self.count == 1:
            return lines[0]
        first = f"; the first {MAX_REPORTED}" if self.count > MAX_REPORTED else ""
        return "\n".join([f"{self.file}: {self.count:,} mistakes, nothing was changed{first}:", *lines])


class Mistakes:
    """Collects mistakes by path; counts all and keeps the first hundred."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[tuple[str, str]] = []

    def add(self, path: str, detail: str) -> None:
        self.count += 1
        if self.count <= MAX_REPORTED:
            self._first.append((path, detail))

    def check(self, kind: Any, value: object, path: str = "") -> None:
        """Adds everything that keeps `value` from being a `kind`, a type as msgspec takes it (hence Any)."""
        for place, detail in violations_of(kind, value, path):
            self.add(place, detail)

    def raise_if_any(self, file: str, locate: Locate) -> None:
        """Raises InvalidFileError if there are any."""
        if self.count:
            raise InvalidFileError(file, self.count, [(locate(path), detail) for path, detail in self._first])
