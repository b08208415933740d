"""The picks' checker tells what it must: a broken promise is seen, and none is seen where there is none."""

from faults.picking import Given, PickLedger


def given(number: int, at: float, *, ends: float = 100, day: int = 1, placed: int | None = None) -> Given:
    return Given(f"pick-{number}", 18, at, at + 0.1, ends, day, placed_day=placed)


def ledger(*some: Given) -> PickLedger:
    made = PickLedger(cap=2)
    for one in some:
        made.give(one)
    return made


def test_a_third_pick_is_over_a_cap_of_two() -> None:
    assert ledger(given(1, 1), given(2, 2)).verdict() == (0, 0, 0)
    assert ledger(given(1, 1), given(2, 2), given(3, 3)).verdict() == (1, 0, 0)


def test_a_call_holds_its_place_for_the_day_and_no_longer() -> None:
    calls = [given(1, 1, ends=5, placed=1), given(2, 2, ends=5, placed=1)]
    assert ledger(*calls, given(3, 50)).verdict().over_cap == 1
    assert ledger(*calls, given(3, 50, day=2)).verdict().over_cap == 0


def test_a_reservation_holds_its_place_also_past_midnight() -> None:
    some = given(1, 1), given(2, 2, placed=2), given(3, 3, placed=1)
    assert ledger(*some, given(4, 50, day=2)).verdict().over_cap == 1
    assert ledger(*some, given(4, 50, day=3)).verdict().over_cap == 0


def test_what_has_expired_or_was_given_back_holds_nothing() -> None:
    assert ledger(given(1, 1, ends=5), given(2, 2), given(3, 6)).verdict().over_cap == 0
    released = given(1, 1)
    released.freed = 2.5
    assert ledger(released, given(2, 2), given(3, 3)).verdict().over_cap == 0


def test_a_pick_that_was_asked_for_after_its_number_rested_is_wrong() -> None:
    made = ledger(given(1, 1), given(2, 3))
    made.rests_since[18] = 2
    assert made.verdict().resting == 1


def test_an_id_that_is_given_twice_is_wrong() -> None:
    assert ledger(given(1, 1), given(1, 2)).verdict().twice == 1
