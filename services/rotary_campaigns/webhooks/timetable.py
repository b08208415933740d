"""When it is whose turn: one time for each row, and what is due at the cost of a logarithm."""

import math
from heapq import heapify, heappop, heappush

_SPARE = 64


class Timetable:
    """Times are numbers of any clock."""

    def __init__(self) -> None:
        self._at: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []  # entries that _at does not confirm are void

    @property
    def size(self) -> int:
        """What it holds in memory, a number that the number of its rows bounds."""
        return len(self._heap)

    def get(self, row: int) -> float:
        """The time of a row; infinity for one without."""
        return self._at.get(row, math.inf)

    def put(self, row: int, at: float) -> None:
        """Gives a row this time, and no other."""
        if self._at.get(row) == at:
            return
        self._at[row] = at
        if len(self._heap) > 2 * len(self._at) + _SPARE:
            self._heap = [(when, one) for one, when in self._at.items()]
            heapify(self._heap)
        else:
            heappush(self._heap, (at, row))

    def drop(self, row: int) -> None:
        """Takes a row's time away, if it has any."""
        self._at.pop(row, None)

    def first(self) -> float:
        """The earliest time; infinity if there is none."""
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf

    def take(self, now: float) -> int | None:
        """A row whose time has come, the earliest first. It has no time then."""
        if self.first() > now:
            return None
        _, row = heappop(self._heap)
        del self._at[row]
        return row
