"""What is known of one caller ID by when it was confirmed, as the witness of old answers asks for it."""

from bisect import bisect_right

from histories import HOUR
from rotary.events import FlagKind

LEAST_REST_MS: dict[FlagKind, int] = {"user_report": HOUR, "spam_label": 6 * HOUR, "blocked": 24 * HOUR}
"""For how long at least a flag of each kind has a caller ID rest. Source: docs/meaning.md."""

Day = tuple[int, int]
"""The quarter hours begin ≤ q < end of a day."""


class Calls:
    """When each call was confirmed (monotonic seconds, ascending), and in which quarter hour it was placed."""

    def __init__(self) -> None:
        self._confirmed: list[tuple[float, int]] = []
        self._of_day: dict[Day, tuple[int, list[float]]] = {}

    def add(self, at: float, quarter: int) -> None:
        self._confirmed.append((at, quarter))

    def count(self, day: Day, before: float) -> int:
        """Calls of this day that had been confirmed before a moment."""
        looked_at, times = self._of_day.get(day, (0, []))
        if looked_at < len(self._confirmed):
            begin, end = day
            times += [at for at, quarter in self._confirmed[looked_at:] if begin <= quarter < end]
            self._of_day[day] = len(self._confirmed), times
        return bisect_right(times, before)


class Flags:
    """The flags that cause a rest, when each was confirmed, and the latest clear that was sent."""

    def __init__(self) -> None:
        self._confirmed: list[tuple[float, int, int]] = []
        self._cleared_ms = -1

    def add(self, at: float, at_ms: int, kind: FlagKind) -> None:
        if kind in LEAST_REST_MS:
            self._confirmed.append((at, at_ms, at_ms + LEAST_REST_MS[kind]))

    def clear(self, at_ms: int) -> None:
        self._cleared_ms = max(self._cleared_ms, at_ms)

    def cause_rest(self, before: float, now_ms: int) -> bool:
        """Whether those confirmed before a moment rest the caller ID at `now_ms`, whatever clear may have arrived."""
        return any(
            at <= before and until_ms > now_ms and at_ms > self._cleared_ms
            for at, at_ms, until_ms in reversed(self._confirmed)
        )
