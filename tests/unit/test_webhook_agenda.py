"""The watcher's agenda: what was heard comes first, however many customers wait for another reason."""

import pytest

from rotary_campaigns.webhooks.agenda import FAIR, SWEEP_SHARE, Agenda, Turn
from rotary_campaigns.webhooks.timetable import Timetable

MANY = 10_000


def customers(agenda: Agenda, now: float) -> list[int]:
    """Those whose turn it is, one after the other."""
    return [turn.customer for turn in iter(lambda: agenda.take(now), None)]


def test_what_was_heard_is_looked_at_before_all_that_may_have_been_missed() -> None:
    agenda = Agenda()
    agenda.catch_up(range(1, MANY))
    assert agenda.take(0.0) == Turn(1, is_again=False)
    agenda.note(7_000, 0.0)
    assert agenda.take(0.0) == Turn(7_000, is_again=False)
    assert agenda.take(0.0) == Turn(2, is_again=False)


def test_a_customer_that_is_noted_often_has_one_turn_at_its_earliest_time() -> None:
    agenda = Agenda()
    for at in (5.0, 3.0, 4.0, 3.0):
        agenda.note(7, at)
    assert (agenda.take(2.9), agenda.wait_seconds(2.5)) == (None, 0.5)
    assert customers(agenda, 9.0) == [7]


def test_everybody_has_a_turn_while_some_are_always_due() -> None:
    agenda = Agenda()
    agenda.catch_up([100, 101, 102])
    turns = []
    for _ in range(3 * (FAIR + 1)):
        agenda.note(1, 0.0)
        turn = agenda.take(0.0)
        assert turn is not None
        turns.append(turn.customer)
    assert [customer for customer in turns if customer != 1] == [100, 101, 102]


def test_a_sweep_takes_its_share_of_the_time_and_what_was_heard_does_not_wait_for_it() -> None:
    agenda = Agenda()
    agenda.sweep([1, 2])
    first = agenda.take(10.0)
    assert first == Turn(1, is_again=True)
    agenda.looked(first, 10.0, 11.0)
    assert agenda.take(11.0) is None
    assert agenda.wait_seconds(11.0) == pytest.approx(1 / SWEEP_SHARE - 1)
    agenda.note(9, 11.0)
    assert customers(agenda, 11.0) == [9]
    assert customers(agenda, 10.0 + 1 / SWEEP_SHARE) == [2]


def test_a_sweep_that_is_not_over_is_not_begun_again() -> None:
    agenda = Agenda()
    agenda.sweep([1, 2, 3])
    assert agenda.take(0.0) == Turn(1, is_again=True)
    agenda.sweep([1, 2, 3])
    assert customers(agenda, 0.0) == [2, 3]


def test_who_is_forgotten_has_no_turn() -> None:
    agenda = Agenda()
    agenda.note(1, 0.0)
    agenda.catch_up([1, 2])
    agenda.sweep([1, 3])
    agenda.forget(1)
    assert customers(agenda, 0.0) == [2, 3]


def test_a_timetable_holds_as_much_as_it_has_rows_however_often_their_times_change() -> None:
    table = Timetable()
    for at in range(10_000):
        for row in (1, 2, 3):
            table.put(row, 10_000 - at)
    assert table.size < 100
    assert (table.take(0.5), table.take(1.0), table.get(1)) == (None, 1, float("inf"))


def test_a_row_has_the_time_that_it_was_given_last() -> None:
    table = Timetable()
    table.put(1, 1)
    table.put(1, 5)
    table.put(2, 4)
    table.drop(2)
    assert (table.first(), table.take(4.9), table.take(5)) == (5, None, 1)
    assert table.first() == float("inf")
