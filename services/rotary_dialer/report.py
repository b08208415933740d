"""Counts what became of each line, and keeps those that came to nothing."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import IO, Self

from rotary.events import Event, encode_event
from rotary.publisher import PublishError
from rotary_dialer.command_line import printable
from rotary_dialer.event_reader import Numbered
from rotary_dialer.rejected_lines import RejectedFile

_TOLD = 20


class Tally:
    """Fed from the publisher's thread as well as from ours. The first refusals are told one by one, all are counted.

    `rejected` is given the lines that are no event. Without it, and with `whole`, every one of them is told with its
    text: the input cannot be read again. `undelivered` is a file that is given the events the broker did not confirm,
    as JSON lines with their identities, so that publishing it as it is cannot count anything twice.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        undelivered: IO[bytes] | None = None,
        rejected: RejectedFile | None = None,
        *,
        whole: bool = False,
    ) -> None:
        self.confirmed = 0
        self.refused = 0
        self._told = 0
        self._say = say
        self._undelivered = undelivered
        self._rejected = rejected
        self._whole = whole
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._told and self.refused > self._told:
            self._say(f"… and {self.refused - self._told:,} more")

    def expect(self, line: Numbered, event: Event, future: Future[None]) -> None:
        """Counts this line once the future of its event is done."""
        future.add_done_callback(partial(self._settle, line, event))

    def reject(self, line: Numbered, header: bytes) -> None:
        """A line that is no event. Raises OSError when it cannot be kept."""
        text = f": {line.raw.decode(errors='backslashreplace').rstrip()}" if self._whole else ""
        with self._lock:
            self._count(line.number, line.reason + text, always=self._whole)
            if self._rejected is not None:
                self._rejected.keep(line, header)

    def keep_all(self, lines: Iterable[bytes], reason: str) -> None:
        """Keeps the lines of an input that is not understood; reads none if there is nowhere to keep them."""
        if self._rejected is not None:
            for number, line in enumerate(lines, 1):
                self.refused += 1
                self._rejected.keep(Numbered(number, line, None, reason))

    def fail(self, line: Numbered, event: Event, reason: str) -> None:
        """An event that was not confirmed."""
        with self._lock:
            self._count(line.number, reason, always=False)
            if self._undelivered is not None:
                self._undelivered.write(encode_event(event) + b"\n")

    def _count(self, number: int, reason: str, *, always: bool) -> None:
        self.refused += 1
        if always or self._told < _TOLD:
            self._told += 1
            self._say(printable(f"line {number}: {reason}"))

    def _settle(self, line: Numbered, event: Event, future: Future[None]) -> None:
        error = future.exception()
        if error is None:
            with self._lock:
                self.confirmed += 1
        else:
            self.fail(line, event, error.reason if isinstance(error, PublishError) else str(error))
