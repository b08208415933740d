"""The witness of old answers itself: it finds what it is there to find, and nothing else."""

from collections.abc import Sequence

from msgspec import json

from faults.definitions import Customer
from faults.definitions import customer as customer_of
from faults.ledger import Ledger, Sent
from faults.streams import CURRENT_SECONDS, Stream
from faults.watch import GRACE_SECONDS, Reading, Watch
from histories import HOUR, MINUTE, NOW, by_row, cleared, facts_about, flagged, group, member, placed
from rotary.domain.facts import NO_FACTS
from rotary.domain.monitor import Monitor, monitor
from rotary.events import Event

ZONE = "Asia/Ho_Chi_Minh"
CUSTOMER: Customer = customer_of(7)
CALLER = CUSTOMER.callers[2]
CONFIRMED_AT = 1000.0


class Clock:
    """Monotonic seconds that a test sets."""

    def __init__(self) -> None:
        self.seconds = CONFIRMED_AT

    def __call__(self) -> float:
        return self.seconds


def watch_of(*events: Event, unconfirmed: Sequence[Event] = ()) -> Watch:
    """Of a ledger in which these events were confirmed at one moment, and others sent."""
    ledger = Ledger(now=Clock())
    sent = [Sent(CUSTOMER.id, event) for event in events]
    ledger.sending([*sent, *(Sent(CUSTOMER.id, event) for event in unconfirmed)])
    ledger.confirm(sent)
    return Watch(ledger, ZONE, lambda: NOW)


def shown(*events: Event) -> Monitor:
    """The monitor that shows these events."""
    facts_by_caller = {CALLER: facts_about(events, CALLER).caller_facts() if events else NO_FACTS}
    of = group([member(CALLER)], ZONE)
    return monitor(of, by_row(of, facts_by_caller), NOW)


def stale(watch: Watch, answer: Monitor, asked_after: float, lag_seconds: int = 0) -> bool:
    """Whether an answer that was asked for so long after the confirm, and took 3 s, is found to be old."""
    at = CONFIRMED_AT + asked_after + 3
    watch.take(CUSTOMER, Reading(at, 3, "/71/monitor", 200, lag_seconds=lag_seconds, monitor=answer))
    assert not watch.wrong
    return bool(watch.stale)


CALL = placed("call", NOW, CALLER)


def test_a_call_that_was_confirmed_before_the_grace_must_be_shown() -> None:
    assert stale(watch_of(CALL), shown(), asked_after=GRACE_SECONDS + 0.1)
    assert not stale(watch_of(CALL), shown(CALL), asked_after=GRACE_SECONDS + 0.1)


def test_what_was_confirmed_within_the_grace_may_be_missing() -> None:
    assert not stale(watch_of(CALL), shown(), asked_after=GRACE_SECONDS - 0.1)


def test_an_answer_may_be_as_old_as_it_says_and_no_older() -> None:
    assert not stale(watch_of(CALL), shown(), asked_after=GRACE_SECONDS + 4.9, lag_seconds=5)
    assert stale(watch_of(CALL), shown(), asked_after=GRACE_SECONDS + 5.1, lag_seconds=5)


def test_what_was_never_confirmed_need_not_be_shown() -> None:
    assert not stale(watch_of(unconfirmed=[CALL]), shown(), asked_after=60)


def test_a_call_of_another_day_need_not_be_shown_today() -> None:
    assert not stale(watch_of(placed("yesterday", NOW - 24 * HOUR, CALLER)), shown(), asked_after=60)


BLOCKED = flagged("flag", "blocked", NOW - HOUR, CALLER)


def test_a_flag_that_was_confirmed_must_have_its_caller_id_rest() -> None:
    assert stale(watch_of(BLOCKED), shown(), asked_after=60)
    assert not stale(watch_of(BLOCKED), shown(BLOCKED), asked_after=60)
    assert not stale(watch_of(BLOCKED), shown(), asked_after=GRACE_SECONDS - 0.1)


def test_a_flag_that_causes_no_rest_or_a_past_one_says_nothing_of_the_status() -> None:
    assert not stale(watch_of(flagged("flag", "rejected", NOW, CALLER)), shown(), asked_after=60)
    assert not stale(watch_of(flagged("flag", "user_report", NOW - HOUR + MINUTE, CALLER)), shown(), asked_after=60)


def test_a_clear_may_have_ended_the_rest_even_if_nobody_confirmed_it() -> None:
    later, earlier = cleared("clear", NOW, CALLER), cleared("clear", NOW - 2 * HOUR, CALLER)
    assert not stale(watch_of(BLOCKED, unconfirmed=[later]), shown(), asked_after=60)
    assert stale(watch_of(BLOCKED, unconfirmed=[earlier]), shown(), asked_after=60)


def test_a_call_that_nobody_sent_is_wrong() -> None:
    watch = watch_of()
    watch.take(CUSTOMER, Reading(CONFIRMED_AT, 0, "/71/monitor", 200, monitor=shown(CALL)))
    assert watch.wrong


def stream_of(*events: tuple[str, bytes]) -> Stream:
    stream = Stream(CUSTOMER, 71)
    stream.is_open = True
    for name, data in events:
        stream.take(name, data, CONFIRMED_AT)
    return stream


EMPTY = ("snapshot", json.encode({"data": shown()}))
FULL = ("snapshot", json.encode({"data": shown(CALL)}))
STALE = ("stale", b"{}")


def test_a_stream_that_says_nothing_while_it_is_behind_is_found() -> None:
    watch = watch_of(CALL)
    assert stream_of(EMPTY).old_facts(watch, CONFIRMED_AT + CURRENT_SECONDS + 0.1)
    assert not stream_of(EMPTY).old_facts(watch, CONFIRMED_AT + CURRENT_SECONDS - 0.1)
    assert not stream_of(EMPTY, FULL).old_facts(watch, CONFIRMED_AT + 60)


def test_a_stream_that_says_that_it_is_stale_may_be_behind() -> None:
    watch = watch_of(CALL)
    assert not stream_of(EMPTY, STALE).old_facts(watch, CONFIRMED_AT + 60)
    assert stream_of(EMPTY, STALE, EMPTY).old_facts(watch, CONFIRMED_AT + 60), "the last event counts"


def test_calls_that_were_written_off_need_not_be_shown() -> None:
    ledger = Ledger(now=Clock())
    sent = [Sent(CUSTOMER.id, CALL)]
    ledger.sending(sent)
    ledger.confirm(sent)
    ledger.write_off_calls(before=CALL.time)
    assert not stale(Watch(ledger, ZONE, lambda: NOW), shown(), asked_after=60)
    assert ledger.unconfirmed() == sent
