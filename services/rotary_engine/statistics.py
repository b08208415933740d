"""What the engine counts. Requests only bump plain integers."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from rotary.domain.rotation.outcomes import Outcome, Picked, Reason, Refusal

LATENCY_BOUNDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.008, 0.013, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds from a request's head to its answer: the upper bounds of the histogram's buckets but the last."""


class Statistics:
    """Counts of this process since it started."""

    def __init__(self) -> None:
        self.picks: Counter[Reason] = Counter()
        """Picks given, by the reason for the choice: `sticky`, or the strategy."""
        self.refused: Counter[str] = Counter()
        """Picks refused, by the reason that most members have."""
        self.members_refused: Counter[Refusal] = Counter()
        self.closed: Counter[str] = Counter()
        """Requests refused because nothing is picked for the customer now, by the code of PicksClosedError."""
        self.released = 0
        self.forgotten = 0
        self.latencies = [0] * (len(LATENCY_BOUNDS) + 1)
        self.seconds = 0.0
        self._expiries: Counter[int] = Counter()

    def picked(self, outcomes: Sequence[Outcome], seconds: float) -> None:
        """A request was answered with these, after so many seconds."""
        self.latencies[bisect_left(LATENCY_BOUNDS, seconds)] += 1
        self.seconds += seconds
        for outcome in outcomes:
            if isinstance(outcome, Picked):
                self.picks[outcome.reason] += 1
                self._expiries[outcome.expires_at_ms // 1000] += 1
            elif outcome.reasons:
                self.refused[max(outcome.reasons, key=outcome.reasons.__getitem__)] += 1
            else:
                self.refused["empty_group"] += 1
