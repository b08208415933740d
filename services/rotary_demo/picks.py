"""What the demo's dialers asked of the engine, for the dashboard."""

import time
from collections import deque
from datetime import datetime

RATE_SECONDS = 10.0


class PickCounts:
    """Counts of all dialers, and the state of one group that runs out now and then."""

    def __init__(self, watched_group: int) -> None:
        self.watched_group = watched_group
        self.total = 0
        self.refusals = 0
        self.released = 0
        self.next_at: datetime | None = None
        """When the watched group can be picked from again, UTC; None while it can be."""
        self._times = deque[float]()

    def picked(self, group_id: int) -> None:
        """A number of this group was picked."""
        self.total += 1
        self._times.append(time.monotonic())
        if group_id == self.watched_group:
            self.next_at = None

    def refused(self, group_id: int, next_at: datetime | None) -> None:
        """No number of this group could be picked."""
        self.refusals += 1
        if group_id == self.watched_group:
            self.next_at = next_at

    def per_second(self) -> float:
        """Picks a second lately."""
        now = time.monotonic()
        while self._times and self._times[0] < now - RATE_SECONDS:
            self._times.popleft()
        return len(self._times) / RATE_SECONDS
