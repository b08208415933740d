"""The checker itself: it finds what it is there to find."""

from faults.check import Verdict, compare
from faults.ledger import Ledger, Sent
from faults.stored import Stored
from histories import NOW, cleared, flagged, placed
from rotary.domain.facts import DAY_MS, QUARTER_MS, QUARTERS_A_DAY, CallerFacts, Flag, fold, pack_counts
from rotary.events import Event, identity

CUSTOMER, CALLER = 7, 18
DAY, QUARTER = NOW // DAY_MS, NOW // QUARTER_MS % QUARTERS_A_DAY
CONFIRMED: list[Event] = [placed("a"), placed("b"), flagged("c", "blocked"), cleared("d", NOW - 1)]
PERHAPS = placed("e")


def ledger() -> Ledger:
    """Four events confirmed, one that nobody heard of again."""
    made = Ledger()
    sent = [Sent(CUSTOMER, event) for event in CONFIRMED]
    made.sending([*sent, Sent(CUSTOMER, PERHAPS)])
    made.confirm(sent)
    return made


def stored(*events: Event, counted: int | None = None, flags: tuple[Flag, ...] | None = None) -> Stored:
    """What Redis should hold after these events, but for what is given otherwise."""
    facts = fold({}, events)[CALLER]
    quarters = [0] * QUARTERS_A_DAY
    quarters[QUARTER] = len(facts.calls) if counted is None else counted
    counts = {DAY: pack_counts(quarters)}
    caller_facts = CallerFacts(counts, facts.flags if flags is None else flags, facts.cleared_at_ms)
    return Stored({CALLER: caller_facts}, {CALLER: set(facts.calls)})


def test_what_is_confirmed_is_there_and_what_is_not_may_be() -> None:
    assert compare(ledger(), CUSTOMER, stored(*CONFIRMED)).is_clean
    assert compare(ledger(), CUSTOMER, stored(*CONFIRMED, PERHAPS)).is_clean


def test_a_call_that_is_not_there_is_lost() -> None:
    assert compare(ledger(), CUSTOMER, stored(*CONFIRMED[1:])) == Verdict(lost=1)
    assert compare(ledger(), CUSTOMER, Stored({}, {})).lost == 3


def test_a_call_that_is_known_and_not_counted_is_lost() -> None:
    assert compare(ledger(), CUSTOMER, stored(*CONFIRMED, counted=1)) == Verdict(lost=1)


def test_a_call_counted_twice_is_found_confirmed_or_not() -> None:
    assert compare(ledger(), CUSTOMER, stored(*CONFIRMED, counted=3)) == Verdict(doubled=1)
    assert compare(ledger(), CUSTOMER, stored(*CONFIRMED, PERHAPS, counted=4)) == Verdict(doubled=1)


def test_a_flag_that_is_not_there_is_lost() -> None:
    assert compare(ledger(), CUSTOMER, stored(*CONFIRMED, flags=())) == Verdict(lost=1)


def test_what_nobody_sent_is_found() -> None:
    assert compare(ledger(), CUSTOMER, stored(*CONFIRMED, placed("forged"))).unknown == 1
    forged = Flag(NOW, identity("/feed", "forged"), "blocked")
    known = fold({}, CONFIRMED)[CALLER].flags
    assert compare(ledger(), CUSTOMER, stored(*CONFIRMED, flags=tuple(sorted((*known, forged))))).unknown == 1


def test_a_clear_that_is_not_there_is_a_difference() -> None:
    assert compare(ledger(), CUSTOMER, stored(*CONFIRMED[:3])) == Verdict(differing=(CALLER,))
