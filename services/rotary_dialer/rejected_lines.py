"""Keeps the lines that were not understood: as they are, in a file of their own, with the reasons in one beside it."""

import os
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from rotary_dialer.event_reader import Numbered

REASONS = ".reason"


class RejectedFile:
    """Opens `path`, or `path` with a number where that is taken, at the first line that is kept: nothing is replaced.

    A CSV's header comes first, so that the file can be mended and read again. What was kept is on the disk when the
    context is left. Raises OSError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        """Where the lines are."""
        self.count = 0
        """Lines kept."""
        self._files = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()

    def keep(self, line: Numbered, header: bytes = b"") -> None:
        """Adds a line and its reason."""
        if not self.count:
            self._open(header)
        self.count += 1
        # As it is: a last line without its end may have been cut off, and is to be seen as such when it is read again.
        self._lines.write(line.raw)
        self._reasons.write(f"line {line.number}: {line.reason}\n".encode(errors="backslashreplace"))

    def _open(self, header: bytes) -> None:
        self.path = unused(self.path)
        self._lines = self._create(self.path)
        self._reasons = self._create(self.path.with_name(self.path.name + REASONS))
        self._lines.write(header)

    def _create(self, path: Path) -> IO[bytes]:
        file = self._files.enter_context(path.open("wb"))
        self._files.callback(_store, file)
        return file


def _store(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def unused(path: Path) -> Path:
    """`path`, or `path.2`, `path.3` and so on: the first that is free, as its file of reasons must be too."""
    names = (path if number == 1 else path.with_name(f"{path.name}.{number}") for number in count(1))
    return next(name for name in names if not name.exists() and not name.with_name(name.name + REASONS).exists())
