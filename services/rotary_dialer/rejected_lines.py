"""Stores rejected lines unchanged in a file, and their reasons in a second file beside it."""

import os
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from rotary_dialer.event_reader import InputLine

REASON_SUFFIX = ".reason"


class RejectedLinesFile:
    """Creates the file at the first line. If `path` exists it adds a number to the name, and never replaces a file.

    The header of a CSV comes first, so that the file can be corrected and read again. Leaving the context syncs the
    file to the disk. Raises OSError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        """The file that holds the lines."""
        self.count = 0
        """Lines in the file."""
        self._files = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()

    def write(self, line: InputLine, header: bytes = b"") -> None:
        """Adds a line and its reason."""
        if not self.count:
            self._open(header)
        self.count += 1
        # Unchanged: a last line without a line end may be cut off, and must be rejected again when it is read again.
        self._lines.write(line.raw)
        self._reasons.write(f"line {line.number}: {line.reason}\n".encode(errors="backslashreplace"))

    def _open(self, header: bytes) -> None:
        self.path = unused_path(self.path)
        self._lines = self._create(self.path)
        self._reasons = self._create(self.path.with_name(self.path.name + REASON_SUFFIX))
        self._lines.write(header)

    def _create(self, path: Path) -> IO[bytes]:
        file = self._files.enter_context(path.open("wb"))
        self._files.callback(_store, file)
        return file


def _store(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def unused_path(path: Path) -> Path:
    """The first of `path`, `path.2`, `path.3` and so on where neither it nor its file of reasons exists."""
    names = (path if number == 1 else path.with_name(f"{path.name}.{number}") for number in count(1))
    return next(name for name in names if not name.exists() and not name.with_name(name.name + REASON_SUFFIX).exists())
