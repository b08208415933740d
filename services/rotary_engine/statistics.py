"""What the engine counts. Requests only bump plain integers."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from operator import itemgetter

from rotary.domain.rotation.outcomes import NothingEligible, Outcome, Picked

LATENCY_BOUNDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.008, 0.013, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds from a request's head to its answer: the upper bounds of the histogram's buckets but the last."""
_SWEEP = 256


class Statistics:
    """Counts of this process since it started."""

    def __init__(self) -> None:
        self.picks: Counter[tuple[str, str, str]] = Counter()
        """By the group's strategy, by outcome (`picked`, `refused`) and by reason."""
        self.closed: Counter[str] = Counter()
        """Requests refused because nothing is picked for the customer now, by the code of PicksClosedError."""
        self.forgotten = 0
        self.latencies = [0] * (len(LATENCY_BOUNDS) + 1)
        self.seconds = 0.0
        self._ends: Counter[int] = Counter()

    def picked(self, strategy: str, outcomes: Sequence[Outcome], seconds: float) -> None:
        """A request was answered with these, after so many seconds."""
        self.latencies[bisect_left(LATENCY_BOUNDS, seconds)] += 1
        self.seconds += seconds
        if len(outcomes) == 1:
            self._add(strategy, _kind(outcomes[0]), 1)
            return
        # A batch has few kinds of outcomes: counted in C, then noted once for each.
        for kind, count in Counter(map(_kind, outcomes)).items():
            self._add(strategy, kind, count)

    def _add(self, strategy: str, kind: tuple[str, str, int], count: int) -> None:
        outcome, reason, ends_ms = kind
        self.picks[strategy, outcome, reason] += count
        if ends_ms:
            self._ends[ends_ms // 1000] += count
            if len(self._ends) > _SWEEP:
                self._sweep(max(self._ends) - _SWEEP // 2)

    def live(self, now_ms: int) -> int:
        """Reservations whose time has not ended."""
        return sum(count for second, count in self._ends.items() if second * 1000 > now_ms)

    def _sweep(self, before: int) -> None:
        for second in [second for second in self._ends if second < before]:
            del self._ends[second]


def _kind(outcome: Outcome) -> tuple[str, str, int]:
    """Whether somebody was picked, why, and when the reservation ends; 0 for none."""
    if isinstance(outcome, Picked):
        return "picked", outcome.reason, outcome.expires_at_ms
    return "refused", _main_reason(outcome), 0


def _main_reason(nothing: NothingEligible) -> str:
    return max(nothing.reasons.items(), key=itemgetter(1), default=("empty_group", 0))[0]
