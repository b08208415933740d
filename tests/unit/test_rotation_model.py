"""The laws of the model, which the atomic function is compared with: strategies, caps, reservations."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from histories import HOUR, MINUTE, NOW
from pick_groups import GROUP, group, member
from rotary.definitions import MemberDefinition, RotationStrategy
from rotary.domain.rotation.model import Choice, Model
from rotary.domain.rotation.outcomes import NothingEligible, PickRequest
from rotary.domain.rotation.plan import make_plan

ANY = PickRequest()
STRATEGIES: list[RotationStrategy] = ["least_used", "weighted", "random"]


def model_of(members: list[MemberDefinition], strategy: RotationStrategy = "round_robin") -> Model:
    model = Model()
    model.plan(make_plan(group(members, strategy), {}, NOW))
    return model


def pick(model: Model, asked: PickRequest = ANY, now_ms: int = NOW) -> int | None:
    """One pick by the model's own word; a random one takes the first."""
    choice = model.choose(GROUP, asked, now_ms)
    if isinstance(choice, NothingEligible):
        return None
    model.take(GROUP, asked, choice, choice.callers[0], f"pick-{model.number}", now_ms)
    return choice.callers[0]


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


def test_a_refusal_says_when_the_first_of_all_can_be_picked_again() -> None:
    model = model_of([member(1, min_gap_seconds=60), member(2, daily_cap=1)])
    pick(model)
    pick(model)
    model.call(2, NOW, "pick-1")
    refused = model.choose(GROUP, ANY, NOW)
    assert refused == NothingEligible({"min_gap": 1, "quota_exceeded": 1}, NOW + MINUTE)


def test_a_preferred_pick_leaves_the_others_in_their_order() -> None:
    model = model_of([member(1), member(2, carrier="mobifone"), member(3)])
    assert [pick(model), pick(model, PickRequest(carrier="mobifone")), pick(model), pick(model)] == [1, 2, 3, 1]


def test_random_may_be_anybody_that_can_be_picked() -> None:
    model = model_of([member(1), member(2), member(3, daily_cap=1)], "random")
    model.call(3, NOW)
    assert model.choose(GROUP, ANY, NOW) == Choice((1, 2), "random")


def test_an_hours_calls_leave_room_when_their_quarter_is_an_hour_past() -> None:
    model = model_of([member(1, hourly_cap=1)])
    model.call(1, NOW)
    refused = model.choose(GROUP, ANY, NOW)
    assert refused == NothingEligible({"hourly_cap": 1}, NOW + HOUR + 15 * MINUTE)
