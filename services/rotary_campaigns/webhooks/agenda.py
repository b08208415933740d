"""Which customer the watcher looks at next.

There are three reasons to look at a customer, in this order: something was heard of it, or the time has come that alone
may change it; anything may have been missed; it was looked at long ago. However many customers there are, the first is
never behind more than one look for another reason, and finding the next customer costs the logarithm of their number.
"""

import math
from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from rotary_campaigns.webhooks.timetable import Timetable

FAIR = 10
"""After so many looks at customers that were noted, one for another reason."""
SWEEP_SHARE = 0.25
"""Of the time: what looking at everybody again takes at most."""


class Turn(NamedTuple):
    """A customer whose turn it is. `is_again`: only because it was looked at long ago."""

    customer: int
    is_again: bool


class Agenda:
    """Times are seconds of any clock that does not go back."""

    def __init__(self) -> None:
        self._noted = Timetable()
        self._missed: OrderedDict[int, None] = OrderedDict()
        self._again: OrderedDict[int, None] = OrderedDict()
        self._again_at = 0.0
        self._in_a_row = 0

    def note(self, customer: int, at: float) -> None:
        """To be looked at then, if it is not to be earlier."""
        self._noted.put(customer, min(at, self._noted.get(customer)))

    def catch_up(self, customers: Iterable[int]) -> None:
        """To be looked at one after the other, because anything may have been missed."""
        self._missed.update(dict.fromkeys(customers))

    def sweep(self, customers: Iterable[int]) -> None:
        """To be looked at one after the other, at leisure. Does nothing until the last sweep is over."""
        if not self._again:
            self._again.update(dict.fromkeys(customers))

    def forget(self, customer: int) -> None:
        """Not to be looked at any more."""
        self._noted.drop(customer)
        for some in (self._missed, self._again):
            some.pop(customer, None)

    def take(self, now: float) -> Turn | None:
        """Whose turn it is, if it is anybody's."""
        is_due = self._noted.first() <= now
        if not is_due or self._in_a_row >= FAIR:
            self._in_a_row = 0
            if self._missed:
                return Turn(self._missed.popitem(last=False)[0], is_again=False)
            if self._again and now >= self._again_at:
                return Turn(self._again.popitem(last=False)[0], is_again=True)
        customer = self._noted.take(now)
        if customer is None:
            return None
        self._in_a_row += 1
        return Turn(customer, is_again=False)

    def looked(self, turn: Turn, began: float, now: float) -> None:
        """Says when the look at a customer began and ended."""
        if turn.is_again:
            self._again_at = now + (now - began) * (1 / SWEEP_SHARE - 1)

    def wait_seconds(self, now: float) -> float:
        """How long it is nobody's turn, unless something is noted meanwhile."""
        if self._missed:
            return 0.0
        return max(0.0, min(self._noted.first(), self._again_at if self._again else math.inf) - now)
