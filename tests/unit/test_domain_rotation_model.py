"""The laws of the model, which the atomic function is compared with: strategies, caps, reservations."""

from collections import Counter
from fractions import Fraction
from random import Random
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from histories import DAY, HOUR, MINUTE, NOW
from pick_groups import GROUP, member
from rotary.definitions import RotationStrategy
from rotary.domain.rotation.model import Choice
from rotary.domain.rotation.outcomes import PickRequest
from rotary.domain.rotation.plan import PHASES
from rotary.policy import Policy
from rotation_model import ANY, chosen, define, model_of, pick, picks

STRATEGIES: list[RotationStrategy] = ["least_used", "weighted", "random"]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_any_sum_of_weights_consecutive_picks_give_each_member_its_weight(weights: list[int]) -> None:
    model = model_of([member(at, weight=weight) for at, weight in enumerate(weights, 1)], "weighted")
    total = sum(weights)
    chosen = [pick(model) for _ in range(3 * total)]
    for begin in range(2 * total):
        counts = Counter(chosen[begin : begin + total])
        assert [counts[at] for at in range(1, len(weights) + 1)] == weights


@given(st.integers(1, 8), st.integers(1, 3))
def test_any_k_times_n_picks_in_turn_give_each_member_k(size: int, rounds: int) -> None:
    model = model_of([member(number) for number in range(1, size + 1)])
    chosen = [pick(model) for _ in range(3 * size * rounds)]
    for begin in range(2 * size * rounds):
        assert set(Counter(chosen[begin : begin + size * rounds]).values()) == {rounds}


@given(st.lists(st.integers(0, 5), min_size=2, max_size=6), st.integers(1, 20))
def test_least_used_is_always_one_of_the_fewest(calls: list[int], picks: int) -> None:
    model = model_of([member(at) for at in range(len(calls))], "least_used")
    for at, number in enumerate(calls):
        for _ in range(number):
            model.call(at, NOW)
    plan = model.groups[GROUP].plan
    for _ in range(picks):
        fewest = min(model.used(plan, one.id) for one in plan.members)
        caller = pick(model)
        assert caller is not None
        assert model.used(plan, caller) == fewest + 1


@given(st.lists(st.integers(1, 9), min_size=2, max_size=5))
def test_cap_based_is_always_one_of_the_largest_share_left(caps: list[int]) -> None:
    model = model_of([member(at, daily_cap=cap) for at, cap in enumerate(caps)], "cap_based")
    plan = model.groups[GROUP].plan
    for _ in range(sum(caps)):
        left = {one.id: (one.cap - model.used(plan, one.id)) / one.cap for one in plan.members}
        caller = pick(model)
        assert caller is not None
        assert left[caller] == max(left.values())
    assert pick(model) is None, "all caps are reached, and none is passed"


@given(st.integers(0, 2**32))
def test_no_history_passes_a_cap(seed: int) -> None:
    random = Random(seed)
    model = model_of([member(at, daily_cap=3) for at in range(4)], random.choice(STRATEGIES))
    plan, live = model.groups[GROUP].plan, list[str]()
    for step in range(60):
        now_ms = NOW + step * MINUTE // 10
        model.expire(now_ms)
        before = set(model.reservations)
        if pick(model, now_ms=now_ms) is not None:
            live += set(model.reservations) - before
        if live and random.random() < 0.5:
            name = live.pop(random.randrange(len(live)))
            held = model.reservations.get(name)
            if held is not None and random.random() < 0.5:
                model.call(held.caller, now_ms, name)
            else:
                model.release(name)
        assert all(model.used(plan, one.id) <= one.cap for one in plan.members)


def test_picks_are_numbered_one_by_one_and_a_refusal_takes_no_number() -> None:
    model = model_of([member(1, daily_cap=2), member(2, daily_cap=1)])
    assert picks(model, 4) == [1, 2, 1, None]
    assert model.groups[GROUP].turns == {1: 3, 2: 2}
    assert model.number == 3


def test_a_preferred_pick_leaves_the_others_in_their_order() -> None:
    model = model_of([member(1), member(2, carrier="mobifone"), member(3)])
    assert [pick(model), pick(model, PickRequest(carrier="mobifone")), pick(model), pick(model)] == [1, 2, 3, 1]


def test_random_may_be_anybody_that_can_be_picked() -> None:
    model = model_of([member(1), member(2), member(3, daily_cap=1)], "random")
    model.call(3, NOW)
    assert model.choose(GROUP, ANY, NOW) == Choice((1, 2), "random")


def test_least_used_takes_the_least_recently_picked_of_the_fewest() -> None:
    model = model_of([member(1), member(2), member(3)], "least_used")
    model.call(1, NOW)
    model.call(1, NOW)
    model.call(2, NOW)
    assert picks(model, 6) == [3, 2, 3, 1, 2, 3]


def test_cap_based_takes_the_least_recently_picked_of_equal_shares() -> None:
    model = model_of([member(1, daily_cap=10), member(2, daily_cap=5)], "cap_based")
    assert picks(model, 6) == [1, 2, 1, 2, 1, 1]


@pytest.mark.parametrize("strategy", ["round_robin", "least_used", "cap_based", "weighted"])
def test_equal_members_go_by_their_ids_as_text(strategy: RotationStrategy) -> None:
    """As Redis compares them."""
    members = [member(9), member(10 + 2**32)]  # the phase of a weighted member repeats every 2^32 ids
    model = model_of([members[1], replace(members[0], id=10)], strategy)
    assert pick(model) == 10
    if strategy != "weighted":
        assert pick(model_of(members, strategy)) == 10 + 2**32


@pytest.mark.parametrize("strategy", ["round_robin", "least_used", "cap_based", "weighted"])
def test_the_reason_is_the_strategy(strategy: Literal["round_robin", "least_used", "cap_based", "weighted"]) -> None:
    assert chosen(model_of([member(1)], strategy)) == Choice((1,), strategy)


def test_a_leads_first_number_is_the_least_used_and_it_is_kept() -> None:
    model = model_of([member(1), member(2), member(3)], "sticky_lead")
    model.call(1, NOW)
    lead = PickRequest(lead_id="a")
    assert chosen(model, lead) == Choice((2,), "least_used")
    pick(model, lead)
    assert chosen(model, lead) == Choice((2,), "sticky")
    assert chosen(model, PickRequest(lead_id="b")) == Choice((3,), "least_used")
    assert chosen(model) == Choice((3,), "least_used")


def test_a_number_is_kept_until_a_time_after_its_last_use() -> None:
    model = model_of([member(1), member(2)], sticky_enabled=True, policy=Policy(sticky_days=1))
    lead = PickRequest(lead_id="a")
    pick(model, lead)
    pick(model, lead, NOW + HOUR)
    assert chosen(model, lead, NOW + DAY + HOUR - 1).reason == "sticky"
    assert chosen(model, lead, NOW + DAY + HOUR).reason == "round_robin"


def test_a_number_that_cannot_be_picked_is_replaced_and_the_new_one_kept() -> None:
    model = model_of([member(1, daily_cap=1), member(2)], sticky_enabled=True)
    lead = PickRequest(lead_id="a")
    assert picks(model, 2, lead) == [1, 2]
    model.release("pick-0")
    assert chosen(model, lead) == Choice((2,), "sticky")
    assert chosen(model, PickRequest(lead_id="a", exclude=(2,))) == Choice((1,), "round_robin")


def test_a_kept_number_is_preferred_to_the_asked_carriers() -> None:
    model = model_of([member(1), member(2, carrier="mobifone")], sticky_enabled=True)
    pick(model, PickRequest(lead_id="a"))
    assert chosen(model, PickRequest(lead_id="a", carrier="mobifone")) == Choice((1,), "sticky")


def test_a_group_that_is_not_sticky_keeps_nothing_and_forgets_nothing() -> None:
    model = model_of([member(1), member(2)], sticky_enabled=True)
    lead = PickRequest(lead_id="a")
    assert pick(model, lead) == 1
    define(model, [member(1), member(2)])
    assert pick(model, lead) == 2
    define(model, [member(1), member(2)], sticky_enabled=True)
    assert chosen(model, lead) == Choice((1,), "sticky")


def test_a_forgotten_lead_had_a_number_once() -> None:
    model = model_of([member(1)], "sticky_lead")
    pick(model, PickRequest(lead_id="a"))
    pick(model)
    assert not model.forget(GROUP, "b")
    assert model.forget(GROUP, "a")
    assert not model.forget(GROUP, "a")
    assert model.groups[GROUP].leads == {}


def test_a_changed_definition_leaves_whose_turn_it_is() -> None:
    model = model_of([member(1), member(2), member(3)])
    picks(model, 2)
    define(model, [member(1), member(2), member(4)])
    assert picks(model, 3) == [4, 1, 2]


def test_the_asked_carrier_goes_before_the_asked_prefix() -> None:
    members = [
        member(1, number="0281000"),
        member(2, number="0282000", carrier="mobifone"),
        member(3, number="0247000", carrier="mobifone"),
        member(4, number="02"),
    ]
    model = model_of(members, "random")
    assert chosen(model, PickRequest(carrier="mobifone")).callers == (2, 3)
    assert chosen(model, PickRequest(carrier="mobifone", prefix="0281")).callers == (2,)
    assert chosen(model, PickRequest(carrier="landline", prefix="0281")).callers == (1,)
    assert chosen(model, PickRequest(prefix="0289")).callers == (1, 2)
    assert chosen(model, PickRequest(prefix="025")).callers == (1, 2, 3, 4)
    assert chosen(model, PickRequest(prefix="9")).callers == (1, 2, 3, 4)
    assert chosen(model, PickRequest(prefix="9281")).callers == (1, 2, 3, 4)
    assert chosen(model, PickRequest(prefix="02810009")).callers == (1,)


def test_a_random_pick_has_no_turn() -> None:
    model = model_of([member(1), member(2)], "random")
    assert picks(model, 2) == [1, 1]
    define(model, [member(1), member(2)])
    assert picks(model, 2) == [1, 2]


def test_the_weighted_round_goes_by_shares_of_the_round() -> None:
    """With phases of nearly 0: turns lie at 0 of member 0, and from there every third of the round."""
    model = model_of([member(0, weight=3), member(2**32, weight=1)], "weighted")
    assert picks(model, 8) == [0, 2**32, 0, 0, 0, 2**32, 0, 0]


def test_a_weighted_members_phase_shifts_its_turns_within_its_share() -> None:
    model = model_of([member(0, weight=2), member(1, weight=1)], "weighted")  # the phase of 1 is 0.618
    assert picks(model, 6) == [0, 0, 1, 0, 0, 1]


@given(st.dictionaries(st.integers(0, 100), st.integers(1, 6), min_size=1, max_size=6))
@example({5: 1, 10: 2})  # their first turns lie at the same place: ids decide, as text
def test_turn_k_of_a_weighted_member_lies_at_k_and_its_phase_by_its_weight(weights: dict[int, int]) -> None:
    model = model_of([member(caller, weight=weight) for caller, weight in weights.items()], "weighted")
    turns = [(one, k) for one in model.groups[GROUP].plan.members for k in range(one.weight)]
    turns.sort(key=lambda turn: ((turn[1] + Fraction(turn[0].phase, PHASES)) / turn[0].weight, str(turn[0].id)))
    round_ = [one.id for one, _ in turns]
    assert picks(model, 2 * len(round_)) == 2 * round_


def test_the_last_places_of_a_round_are_those_that_a_float_can_tell_apart() -> None:
    """The last turn of 1 would be rounded to the end of the round; 2 has the last place in it, 3 the one before."""
    model = model_of([member(1, weight=2**31 - 1), member(2, weight=2**20), member(3, weight=2**20)], "weighted")
    turns = model.groups[GROUP]
    phases = {1: PHASES - 1, 2: PHASES - 1, 3: PHASES - 2}
    model.plan(replace(turns.plan, members=tuple(replace(one, phase=phases[one.id]) for one in turns.plan.members)))
    turns.rounds = {one.id: ((0, one.weight - 1), one.weight) for one in turns.plan.members}
    assert chosen(model).callers == (3,)
    assert chosen(model, PickRequest(exclude=(3,))).callers == (1,), "as close to the end as 2, and its id is less"


def test_a_changed_weight_counts_from_here_on_in_the_round() -> None:
    model = model_of([member(0, weight=4), member(2**32, weight=2)], "weighted")
    assert picks(model, 3) == [0, 2**32, 0]
    define(model, [member(0, weight=2), member(2**32, weight=2)], "weighted")
    assert picks(model, 4) == [0, 2**32, 0, 2**32], "its second turn is the one at half of the round"


def test_who_joins_a_weighted_group_begins_where_the_round_is() -> None:
    model = model_of([member(0, weight=2)], "weighted")
    picks(model, 2)
    define(model, [member(0, weight=2), member(2**32, weight=2)], "weighted")
    assert picks(model, 4) == [2**32, 0, 2**32, 0]


def test_who_joins_a_weighted_group_after_its_places_have_passed_begins_with_the_next_round() -> None:
    model = model_of([member(0), member(1)], "weighted")
    assert picks(model, 2) == [0, 1]
    define(model, [member(0), member(1), member(2**32)], "weighted")
    assert picks(model, 4) == [0, 2**32, 1, 0]


def test_who_could_not_be_picked_for_rounds_has_no_turns_to_catch_up() -> None:
    model = model_of([member(0), member(2**32, min_gap_seconds=60)], "weighted")
    assert picks(model, 6) == [0, 2**32, 0, 0, 0, 0]
    assert picks(model, 4, now_ms=NOW + MINUTE) == [2**32, 0, 0, 0]


def test_a_pick_out_of_turn_does_not_move_the_weighted_round() -> None:
    members = [member(0), member(2**32, carrier="mobifone"), member(2**33, number="09")]
    asked = [PickRequest(carrier="mobifone"), PickRequest(prefix="09"), PickRequest(exclude=(0,))]
    expected = [[2**32, 0, 2**33], [2**33, 0, 2**32], [2**32, 0, 2**33]]
    for one, callers in zip(asked, expected, strict=True):
        model = model_of(members, "weighted")
        assert [pick(model, one), *picks(model, 2)] == callers
    sticky = model_of(members, "weighted", sticky_enabled=True)
    assert pick(sticky, PickRequest(lead_id="a", exclude=(0,))) == 2**32
    assert picks(sticky, 2, PickRequest(lead_id="a")) == [2**32, 2**32]
    assert picks(sticky, 2) == [0, 2**33]


@pytest.mark.parametrize("asked", [PickRequest(carrier="mobifone"), PickRequest(prefix="0"), PickRequest(lead_id="a")])
def test_a_preferred_or_kept_pick_does_not_move_the_weighted_round_even_of_whoever_is_next(asked: PickRequest) -> None:
    members = [member(0, carrier="mobifone"), member(1)]
    model = model_of(members, "weighted", sticky_enabled=True)
    assert [pick(model, PickRequest(lead_id="a")), pick(model), pick(model, asked)] == [0, 1, 0]
    define(model, [*members, member(3)], "weighted")  # the phase of 1 is 0.618, that of 3 is 0.854
    assert picks(model, 3) == [3, 1, 3]


def test_a_pick_of_which_nobody_has_what_is_asked_for_moves_the_weighted_round() -> None:
    members = [member(0), member(1)]
    model = model_of(members, "weighted")
    assert [*picks(model, 2), pick(model, PickRequest(carrier="landline", prefix="9281"))] == [0, 1, 0]
    define(model, [*members, member(3)], "weighted")
    assert picks(model, 3) == [1, 3, 0], "3 begins in the round of the last pick"
