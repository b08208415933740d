"""Counts what became of each event, and keeps the undelivered ones."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import IO, Self

from rotary.events import Event, encode_event
from rotary.publisher import PublishError

_TOLD = 20


class Tally:
    """Fed from the publisher's thread as well as from ours. The first refusals are told one by one, all are counted.

    `undelivered` is a file that is given the events the broker did not confirm, as JSON lines with their identities, so
    that publishing it as it is cannot count anything twice.
    """

    def __init__(self, say: Callable[[str], None], undelivered: IO[bytes] | None = None) -> None:
        self.confirmed = 0
        self.refused = 0
        self._say = say
        self._file = undelivered
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.refused > _TOLD:
            self._say(f"… and {self.refused - _TOLD:,} more")

    def expect(self, number: int, event: Event, future: Future[None]) -> None:
        """Counts this event once its future is done."""
        future.add_done_callback(partial(self._settle, number, event))

    def refuse(self, number: int, reason: str, event: Event | None = None) -> None:
        """An event that was not published, for the line of that number."""
        with self._lock:
            self.refused += 1
            if self.refused <= _TOLD:
                self._say(f"line {number}: {reason}")
            if event is not None and self._file is not None:
                self._file.write(encode_event(event) + b"\n")

    def _settle(self, number: int, event: Event, future: Future[None]) -> None:
        error = future.exception()
        if error is None:
            with self._lock:
                self.confirmed += 1
        else:
            self.refuse(number, error.reason if isinstance(error, PublishError) else str(error), event)
