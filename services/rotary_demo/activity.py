"""What happened lately, in a line each."""

from collections import deque
from datetime import UTC, datetime
from typing import Literal

from msgspec import Struct

Kind = Literal["published", "seen", "trouble"]


class Item(Struct, frozen=True):
    """One line: an event that was published, a change that the API showed, or a trouble. `at` is UTC."""

    at: datetime
    kind: Kind
    text: str


class News:
    """The newest items, oldest first, and those nobody has taken yet."""

    def __init__(self) -> None:
        self.newest = deque[Item](maxlen=20)
        self._untaken = deque[Item](maxlen=100)

    def tell(self, kind: Kind, text: str) -> None:
        """Adds a line, unless it repeats the newest: a server that is away is told of by everybody who misses it."""
        if self.newest and self.newest[-1].text == text:
            return
        item = Item(datetime.now(UTC), kind, text)
        self.newest.append(item)
        self._untaken.append(item)

    def take(self) -> list[Item]:
        """The items since the last call."""
        items = list(self._untaken)
        self._untaken.clear()
        return items
