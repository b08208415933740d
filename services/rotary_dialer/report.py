"""Counts confirmed and refused lines, and stores those that were refused."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import IO, Self

from rotary.events import Event, encode_event
from rotary.publisher import PublishError
from rotary_dialer.command_line import printable
from rotary_dialer.event_reader import InputLine
from rotary_dialer.rejected_lines import RejectedLinesFile

_MAX_PRINTED = 20


class PublishReport:
    """Counts every line and prints the first refusals. Safe for threads: the publisher's thread reports confirms.

    `rejected` receives the lines that are not events. With `print_lines` each such line is printed with its text,
    because the input cannot be read again. `undelivered` receives the events that the broker did not confirm, as JSON
    lines with their ids, so that publishing that file counts no event twice.
    """

    def __init__(
        self,
        print_line: Callable[[str], None],
        undelivered: IO[bytes] | None = None,
        rejected: RejectedLinesFile | None = None,
        *,
        print_lines: bool = False,
    ) -> None:
        self.confirmed = 0
        self.refused = 0
        self._printed = 0
        self._print_line = print_line
        self._undelivered = undelivered
        self._rejected = rejected
        self._print_lines = print_lines
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._printed and self.refused > self._printed:
            self._print_line(f"… and {self.refused - self._printed:,} more")

    def add_submitted(self, line: InputLine, event: Event, future: Future[None]) -> None:
        """Counts the line when the future of its event is done."""
        future.add_done_callback(partial(self._add_outcome, line, event))

    def add_rejected(self, line: InputLine, header: bytes) -> None:
        """Counts a line that is not an event, and stores it. Raises OSError when that fails."""
        text = f": {line.raw.decode(errors='backslashreplace').rstrip()}" if self._print_lines else ""
        with self._lock:
            self._count(line.number, line.reason + text, always=self._print_lines)
            if self._rejected is not None:
                self._rejected.write(line, header)

    def add_rejected_input(self, lines: Iterable[bytes], reason: str) -> None:
        """Counts and stores the lines of an input in an unknown format. Without a file to store them it reads none."""
        if self._rejected is not None:
            for number, line in enumerate(lines, 1):
                self.refused += 1
                self._rejected.write(InputLine(number, line, None, reason))

    def add_unconfirmed(self, line: InputLine, event: Event, reason: str) -> None:
        """Counts an event that was not confirmed, and stores it."""
        with self._lock:
            self._count(line.number, reason, always=False)
            if self._undelivered is not None:
                self._undelivered.write(encode_event(event) + b"\n")

    def _count(self, number: int, reason: str, *, always: bool) -> None:
        self.refused += 1
        if always or self._printed < _MAX_PRINTED:
            self._printed += 1
            self._print_line(printable(f"line {number}: {reason}"))

    def _add_outcome(self, line: InputLine, event: Event, future: Future[None]) -> None:
        error = future.exception()
        if error is None:
            with self._lock:
                self.confirmed += 1
        else:
            self.add_unconfirmed(line, event, error.reason if isinstance(error, PublishError) else str(error))
