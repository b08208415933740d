"""The activity log of the demo: one line for each event, change or error."""

from collections import deque
from datetime import UTC, datetime
from typing import Literal

from msgspec import Struct

Kind = Literal["published", "picked", "observed", "error"]


class Entry(Struct, frozen=True):
    """An event that was published, an answer of the engine, a change that the API showed, or an error. `at` is UTC."""

    at: datetime
    kind: Kind
    text: str


class ActivityLog:
    """The newest entries, oldest first, and those that nobody has taken yet."""

    def __init__(self) -> None:
        self.newest = deque[Entry](maxlen=20)
        self._untaken = deque[Entry](maxlen=100)

    def add(self, kind: Kind, text: str) -> None:
        """Adds an entry, unless it repeats the newest one: everybody who misses a server reports the same error."""
        if self.newest and self.newest[-1].text == text:
            return
        entry = Entry(datetime.now(UTC), kind, text)
        self.newest.append(entry)
        self._untaken.append(entry)

    def take(self) -> list[Entry]:
        """The entries since the last call."""
        entries = list(self._untaken)
        self._untaken.clear()
        return entries
