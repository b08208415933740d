"""The mirrored facts about one caller ID, shared by all groups it is a member of."""

from __future__ import annotations

from array import array
from collections.abc import MutableSequence, Sequence
from typing import TYPE_CHECKING

from rotary.domain.facts import QUARTERS_A_DAY, Flag, Tally, merge_flags

if TYPE_CHECKING:
    from rotary_query.mirror import GroupMonitor

_DAYS_KEPT = 4  # more than any reader looks at: yesterday, today, tomorrow


class CallerFacts:
    """Facts that changes are merged into. Counters only grow and flags only add up, so the order does not matter."""

    __slots__ = ("_days", "monitors", "tally")

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.monitors: set[GroupMonitor] = set()
        self._days: dict[int, Sequence[int]] | None = None  # the tally's own, once something has changed

    def count(self, day: int, counts: list[int]) -> None:
        """Takes [quarter, count, ...] of a UTC day; a count lower than the known one is an older message."""
        quarters = self._writable(day)
        for at in range(0, len(counts), 2):
            quarter = counts[at]
            quarters[quarter] = max(quarters[quarter], counts[at + 1])

    def flag(self, flags: tuple[Flag, ...], cleared_at_ms: int | None) -> None:
        """Merges a flags document."""
        known = self.tally
        cleared = max(known.cleared_at_ms or 0, cleared_at_ms or 0) or None
        self.tally = Tally(known.calls, merge_flags(known.flags, flags), cleared)

    def bytes_held(self) -> int:
        """About how much memory this takes."""
        return 400 + 900 * len(self.tally.calls) + 150 * len(self.tally.flags)

    def _writable(self, day: int) -> MutableSequence[int]:
        days = self._days
        if days is None:
            days = self._days = dict(self.tally.calls)
            self.tally = Tally(days, self.tally.flags, self.tally.cleared_at_ms)
        quarters = days.get(day, ())
        if isinstance(quarters, array):
            return quarters
        fresh = array("H", [*quarters, *[0] * (QUARTERS_A_DAY - len(quarters))])
        days[day] = fresh
        for old in sorted(days)[:-_DAYS_KEPT]:
            del days[old]
        return fresh
