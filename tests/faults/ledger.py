"""The ledger: what was sent to the broker, what it confirmed and when, and the facts that must follow from it."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct

from faults.known import Calls, Flags
from rotary.domain.facts import QUARTER_MS, Facts, event_ms, fold
from rotary.events import CallPlaced, CarrierFlag, CooldownCleared, Event, identity

Fact = tuple[int, int]
"""(customer, identity): a fact belongs to the customer of the routing key."""
Caller = tuple[int, int]
"""(customer, caller ID)."""


class Sent(Struct, frozen=True):
    """One event as it was sent, however often, under one customer's routing key."""

    customer: int
    event: Event

    @property
    def fact(self) -> Fact:
        return self.customer, identity(self.event.source, self.event.id)

    @property
    def caller(self) -> Caller:
        return self.customer, self.event.data.caller_id_id


class Due(NamedTuple):
    """What must be shown of a caller ID: so many calls at least, and whether it rests for sure."""

    calls: int
    rests: bool


class Ledger:
    """Everything the tests' dialers ever sent. `now` tells monotonic seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.times_sent: Counter[Fact] = Counter()
        self.confirmed: set[Fact] = set()
        self.confirmed_at: dict[Fact, float] = {}
        """When the broker first confirmed them, in Unix seconds."""
        self.confirmations = 0
        """Events that were ever confirmed, each once."""
        self.sent: dict[Fact, Sent] = {}
        self._unconfirmed: dict[Fact, Sent] = {}
        self._now = now
        self._calls: defaultdict[Caller, Counter[int]] = defaultdict(Counter)
        self._calls_known: defaultdict[Caller, Calls] = defaultdict(Calls)
        self._flags_known: defaultdict[Caller, Flags] = defaultdict(Flags)
        self._folded: dict[int, dict[int, Facts]] = defaultdict(dict)
        self._to_fold: list[Sent] = []

    def sending(self, events: Iterable[Sent]) -> None:
        """These are about to be sent, perhaps again."""
        for one in events:
            fact = one.fact
            self.times_sent[fact] += 1
            if fact not in self.sent:
                self.sent[fact] = self._unconfirmed[fact] = one
                match one.event:
                    case CallPlaced():
                        self._calls[one.caller][event_ms(one.event) // QUARTER_MS] += 1
                    case CooldownCleared():
                        self._flags_known[one.caller].clear(event_ms(one.event))
                    case CarrierFlag():
                        pass

    def calls_sent(self, customer: int, caller: int, begin: int, end: int) -> int:
        """Distinct calls in the quarter hours begin ≤ q < end that may have reached the broker."""
        return sum(count for quarter, count in self._calls[customer, caller].items() if begin <= quarter < end)

    def confirm(self, events: Iterable[Sent]) -> None:
        """The broker confirmed them, now."""
        now = self._now()
        for one in events:
            if (fact := one.fact) not in self.confirmed:
                self.confirmed.add(fact)
                del self._unconfirmed[fact]
                self.confirmed_at[fact] = time.time()
                self.confirmations += 1
                self._to_fold.append(one)
                match one.event:
                    case CallPlaced():
                        self._calls_known[one.caller].add(now, event_ms(one.event) // QUARTER_MS)
                    case CarrierFlag():
                        self._flags_known[one.caller].add(now, event_ms(one.event), one.event.data.kind)
                    case CooldownCleared():
                        pass

    def due(self, customer: int, caller: int, day: tuple[int, int], before: float, now_ms: int) -> Due:
        """What an answer must show at `now_ms` that holds everything confirmed before a moment (monotonic seconds).

        `day` are the quarter hours of its today. Whatever was sent may be there as well: a clear may have ended a rest.
        """
        calls = self._calls_known[customer, caller].count(day, before)
        return Due(calls, self._flags_known[customer, caller].cause_rest(before, now_ms))

    def unconfirmed(self) -> list[Sent]:
        """What was sent and never confirmed: each of them may have reached the broker or not."""
        return [*self._unconfirmed.values()]

    def write_off_calls(self, before: datetime) -> None:
        """Calls placed until then may be there or not from here on: an operator did without them."""

        def is_doubted(event: Event) -> bool:
            return isinstance(event, CallPlaced) and event.time <= before

        doubted = {fact: self.sent[fact] for fact in self.confirmed if is_doubted(self.sent[fact].event)}
        self.confirmed -= doubted.keys()
        self._unconfirmed |= doubted
        self._calls_known.clear()
        self._folded.clear()
        self._to_fold = [self.sent[fact] for fact in self.confirmed]

    def reference(self, customer: int, besides: Sequence[Event] = ()) -> dict[int, Facts]:
        """The facts by caller ID that the confirmed events state, and those `besides`: the pure fold is the oracle."""
        arriving = defaultdict(list)
        for one in self._to_fold:
            arriving[one.customer].append(one.event)
        self._to_fold.clear()
        for owner, events in arriving.items():
            self._folded[owner] = fold(self._folded[owner], events)
        return fold(self._folded[customer], besides)
