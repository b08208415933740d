"""The ledger: what was sent to the broker, what the broker confirmed, and the facts that must follow from it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from msgspec import Struct

from rotary.domain.facts import QUARTER_MS, Facts, event_ms, fold
from rotary.events import CallPlaced, Event, identity

Fact = tuple[int, int]
"""(customer, identity): a fact belongs to the customer of the routing key."""


class Sent(Struct, frozen=True):
    """One event as it was sent, however often, under one customer's routing key."""

    customer: int
    event: Event

    @property
    def fact(self) -> Fact:
        return self.customer, identity(self.event.source, self.event.id)


class Ledger:
    """Everything the tests' dialers ever sent."""

    def __init__(self) -> None:
        self.times_sent: Counter[Fact] = Counter()
        self.confirmed: set[Fact] = set()
        self.sent: dict[Fact, Sent] = {}
        self._calls: defaultdict[tuple[int, int], Counter[int]] = defaultdict(Counter)
        self._folded: dict[int, dict[int, Facts]] = defaultdict(dict)
        self._to_fold: list[Sent] = []

    def sending(self, events: Iterable[Sent]) -> None:
        """These are about to be sent, perhaps again."""
        for one in events:
            fact = one.fact
            self.times_sent[fact] += 1
            if fact not in self.sent:
                self.sent[fact] = one
                if isinstance(one.event, CallPlaced):
                    self._calls[one.customer, one.event.data.caller_id_id][event_ms(one.event) // QUARTER_MS] += 1

    def calls_sent(self, customer: int, caller: int, begin: int, end: int) -> int:
        """Distinct calls in the quarter hours begin ≤ q < end that may have reached the broker."""
        return sum(count for quarter, count in self._calls[customer, caller].items() if begin <= quarter < end)

    def confirm(self, events: Iterable[Sent]) -> None:
        """The broker confirmed them."""
        for one in events:
            if (fact := one.fact) not in self.confirmed:
                self.confirmed.add(fact)
                self._to_fold.append(one)

    def unconfirmed(self) -> list[Sent]:
        """What was sent and never confirmed: each of them may have reached the broker or not."""
        return [one for fact, one in self.sent.items() if fact not in self.confirmed]

    def reference(self, customer: int, besides: Sequence[Event] = ()) -> dict[int, Facts]:
        """The facts by caller ID that the confirmed events state, and those `besides`: the pure fold is the oracle."""
        arriving = defaultdict(list)
        for one in self._to_fold:
            arriving[one.customer].append(one.event)
        self._to_fold.clear()
        for owner, events in arriving.items():
            self._folded[owner] = fold(self._folded[owner], events)
        return fold(self._folded[customer], besides)
