"""The checker: every caller ID's facts in Redis against the reference, by the pure fold, of the confirmed events."""

from collections import defaultdict
from collections.abc import Sequence

from msgspec import Struct

from faults.ledger import Ledger, Sent
from faults.stored import Stored
from rotary.domain.facts import NO_FACTS, CallerFacts, Facts, facts_of, pack_counts, unpack_counts
from rotary.events import CallPlaced, CarrierFlag, Event


class Verdict(Struct):
    """What is wrong. `lost`: confirmed and not there. `doubled`: counted more often than it is known.

    `unknown`: there, and never sent. `differing`: caller IDs that do not equal the reference in some other way.
    """

    lost: int = 0
    doubled: int = 0
    unknown: int = 0
    differing: tuple[int, ...] = ()

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.unknown or self.differing)

    def __add__(self, other: "Verdict") -> "Verdict":
        return Verdict(
            self.lost + other.lost,
            self.doubled + other.doubled,
            self.unknown + other.unknown,
            (*self.differing, *other.differing),
        )


def compare(ledger: Ledger, customer: int, stored: Stored) -> Verdict:
    """One customer's caller IDs. What was sent and never confirmed may be there or not, once at most."""
    perhaps = _by_caller(ledger.unconfirmed(), customer)
    confirmed = ledger.reference(customer)
    there = [event for caller, events in perhaps.items() for event in events if _is_there(event, stored, caller)]
    reference = ledger.reference(customer, there)
    verdict = Verdict()
    for caller in stored.facts_by_caller.keys() | reference.keys():
        wanted = reference.get(caller, Facts())
        verdict += _compare_one(caller, confirmed.get(caller, Facts()), wanted, stored)
    return verdict


def _compare_one(caller: int, confirmed: Facts, wanted: Facts, stored: Stored) -> Verdict:
    caller_facts, seen = stored.facts_by_caller.get(caller, NO_FACTS), stored.seen.get(caller, set())
    # Flags that were not confirmed and arrived may have pushed out older ones; those are in neither then.
    lost = len(confirmed.calls.keys() - seen) + len(set(wanted.flags) - set(caller_facts.flags))
    unknown = len(seen - wanted.calls.keys()) + len(set(caller_facts.flags) - set(wanted.flags))
    # The counters against the identities beside them: a call lost from its counter is lost, one too many is doubled.
    known = Facts({call: wanted.calls[call] for call in seen & wanted.calls.keys()})
    missing, surplus = _difference(known.caller_facts(), caller_facts)
    differs = normal(caller_facts) != normal(wanted.caller_facts())
    verdict = Verdict(lost + missing, surplus, unknown)
    return Verdict(differing=(caller,)) if differs and verdict.is_clean else verdict


def _difference(known: CallerFacts, found: CallerFacts) -> tuple[int, int]:
    """How many calls the counters found lack, and how many they have too many."""
    counts: defaultdict[tuple[int, int], int] = defaultdict(int)
    for caller_facts, sign in ((found, 1), (known, -1)):
        for day, quarters in caller_facts.calls.items():
            for quarter, count in enumerate(unpack_counts(quarters)):
                counts[day, quarter] += sign * count
    return -sum(count for count in counts.values() if count < 0), sum(count for count in counts.values() if count > 0)


def normal(caller_facts: CallerFacts) -> CallerFacts:
    """The same facts in one form: no trailing zeros, no empty days."""
    calls = {}
    for day, counts in caller_facts.calls.items():
        quarters = unpack_counts(counts)
        last = max((at for at, count in enumerate(quarters) if count), default=None)
        if last is not None:
            calls[day] = pack_counts(quarters[: last + 1])
    return CallerFacts(calls, caller_facts.flags, caller_facts.cleared_at_ms)


def _by_caller(unconfirmed: Sequence[Sent], customer: int) -> dict[int, list[Event]]:
    found: defaultdict[int, list[Event]] = defaultdict(list)
    for one in unconfirmed:
        if one.customer == customer:
            found[one.event.data.caller_id_id].append(one.event)
    return found


def _is_there(event: Event, stored: Stored, caller: int) -> bool:
    facts = facts_of(event)
    match event:
        case CallPlaced():
            return facts.calls.keys() <= stored.seen.get(caller, set())
        case CarrierFlag():
            return set(facts.flags) <= set(stored.facts_by_caller.get(caller, NO_FACTS).flags)
        case _:
            raise AssertionError("a clear that nobody confirmed cannot be told: send it until it is")
