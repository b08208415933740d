"""The mistakes of a file, each with its place, collected so that all are reported at once."""

from collections.abc import Callable
from typing import Any

from rotary.management.errors import InvalidError, Violation
from rotary.management.validation import violations_of

MAX_REPORTED = 100

Locate = Callable[[str], str]
"""Finds a path, such as `.customers[0].name`, in the file: `definitions.yaml:12: customers[0].name`."""


class InvalidFileError(InvalidError):
    """A file has mistakes. `count` is their number; `violations` holds the first hundred, each with file and line."""

    def __init__(self, file: str, count: int, violations: list[Violation]) -> None:
        super().__init__(*violations)
        self.file = file
        self.count = count

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
            found = [Violation(locate(path), detail) for path, detail in self._first]
            raise InvalidFileError(file, self.count, found)
