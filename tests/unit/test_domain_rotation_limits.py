"""What no pick passes, by the model: caps, hours, gaps, rests; and what a reservation counts for."""

import pytest

from histories import DAY, HOUR, MINUTE, NOW, SECOND, flags
from pick_groups import GROUP, group, member
from rotary.domain.facts import CallerFacts
from rotary.domain.rotation.outcomes import NothingEligible, PickRequest
from rotary.policy import Policy
from rotation_model import chosen, define, model_of, pick, picks, refusal

MIDNIGHT = NOW + 5 * HOUR
"""In Ho Chi Minh City."""
TTL = 30 * SECOND
QUARTER = 15 * MINUTE


def test_a_refusal_says_when_the_first_of_all_can_be_picked_again() -> None:
    model = model_of([member(1, min_gap_seconds=60), member(2, daily_cap=1)])
    picks(model, 2)
    model.call(2, NOW, "pick-1")
    assert refusal(model) == NothingEligible({"min_gap": 1, "quota_exceeded": 1}, NOW + MINUTE)


def test_a_refusal_counts_every_member_by_why_and_leaves_out_what_holds_for_none() -> None:
    members = [member(1), member(2, daily_cap=1), member(3, status="disabled"), member(4), member(5, hourly_cap=1)]
    facts = {1: CallerFacts({}, flags(("user_report", NOW)))}
    model = model_of([*members, member(6, min_gap_seconds=900), member(7)], facts=facts)
    model.call(2, NOW)
    model.call(5, NOW)
    assert pick(model, PickRequest(exclude=(4, 7))) == 6
    assert refusal(model, PickRequest(exclude=(4, 7))) == NothingEligible(
        {"cooldown": 1, "quota_exceeded": 1, "hourly_cap": 1, "min_gap": 1, "disabled": 1, "excluded": 2},
        NOW + 15 * MINUTE,
    )
    assert refusal(model_of([])) == NothingEligible({}, None)
    assert refusal(model_of([member(1, status="disabled")])) == NothingEligible({"disabled": 1}, None)


def test_an_excluded_member_wakes_nobody() -> None:
    model = model_of([member(1, min_gap_seconds=60), member(2, min_gap_seconds=120)])
    picks(model, 2)
    assert refusal(model, PickRequest(exclude=(1,))) == NothingEligible({"min_gap": 2}, NOW + 2 * MINUTE)
    assert refusal(model, PickRequest(exclude=(1, 2))) == NothingEligible({"min_gap": 2}, None)


def test_a_reservation_expires_at_the_first_second_that_is_not_too_early() -> None:
    for now_ms, expires_ms in ((NOW, NOW + TTL), (NOW + 1, NOW + TTL + SECOND), (NOW - 1, NOW + TTL)):
        model = model_of([member(1)])
        assert model.take(GROUP, PickRequest(), chosen(model), 1, "p", now_ms) == expires_ms
        assert model.reservations["p"].expires_ms == expires_ms


def test_a_reservation_counts_until_it_is_given_back_or_has_expired() -> None:
    model = model_of([member(1, daily_cap=1)])
    assert picks(model, 2) == [1, None]
    assert refusal(model) == NothingEligible({"quota_exceeded": 1}, NOW + TTL)
    assert not model.release("another")
    assert model.release("pick-0")
    assert not model.release("pick-0")
    assert pick(model) == 1
    model.expire(NOW + TTL - 1)
    assert pick(model) is None
    model.expire(NOW + TTL)
    assert pick(model) == 1


def test_a_reservation_becomes_its_call_and_counts_once() -> None:
    model = model_of([member(1, daily_cap=2)])
    pick(model)
    model.call(1, NOW, "pick-0")
    assert picks(model, 2) == [1, None]


def test_a_call_without_a_pick_or_with_another_callers_confirms_nothing() -> None:
    model = model_of([member(1, daily_cap=3), member(2)])
    pick(model)
    model.call(1, NOW)
    model.call(1, NOW, "unknown")
    model.call(2, NOW, "pick-0")
    assert set(model.reservations) == {"pick-0"}
    assert picks(model, 2) == [2, 2], "one reservation and two calls are all that 1 has"


def test_calls_add_up_within_a_quarter_hour_and_beyond() -> None:
    model = model_of([member(1, daily_cap=4)])
    for at_ms in (NOW, NOW + 1, NOW + QUARTER - 1):
        model.call(1, at_ms)
    assert pick(model) == 1
    model.release("pick-0")
    model.call(1, NOW + QUARTER)
    assert pick(model) is None


def test_a_cap_is_of_the_customers_day() -> None:
    model = model_of([member(1, daily_cap=1)])
    model.call(1, MIDNIGHT - DAY - 1)
    model.call(1, MIDNIGHT)
    assert pick(model) == 1
    model.release("pick-0")
    model.call(1, MIDNIGHT - DAY)
    assert refusal(model) == NothingEligible({"quota_exceeded": 1}, MIDNIGHT)


def test_a_cap_that_calls_reached_is_final_today_and_one_that_reservations_reached_is_not() -> None:
    model = model_of([member(1, daily_cap=2)])
    picks(model, 2)
    assert refusal(model).next_eligible_at_ms == NOW + TTL
    model.call(1, NOW)
    assert refusal(model).next_eligible_at_ms == NOW + TTL, "one call and two reservations"
    model.call(1, NOW)
    assert refusal(model).next_eligible_at_ms == MIDNIGHT


def test_the_first_of_a_members_own_reservations_to_expire_is_the_one_that_counts() -> None:
    model = model_of([member(1, daily_cap=2), member(2, daily_cap=1)])
    pick(model, PickRequest(exclude=(1,)), NOW)
    pick(model, now_ms=NOW + 5 * SECOND)
    pick(model, now_ms=NOW + 9 * SECOND)
    refused = refusal(model, PickRequest(exclude=(2,)), NOW + 9 * SECOND)
    assert refused == NothingEligible({"quota_exceeded": 2}, NOW + 5 * SECOND + TTL)


def test_a_rest_ends_by_itself() -> None:
    model = model_of([member(1)], facts={1: CallerFacts({}, flags(("user_report", NOW)))})
    assert refusal(model, now_ms=NOW + HOUR - 1) == NothingEligible({"cooldown": 1}, NOW + HOUR)
    assert pick(model, now_ms=NOW + HOUR) == 1


def test_a_rest_that_ends_before_the_day_does_goes_on_if_the_cap_is_reached() -> None:
    facts = {1: CallerFacts({}, flags(("user_report", NOW)))}
    model = model_of([member(1, daily_cap=1)], facts=facts)
    model.call(1, NOW)
    assert refusal(model) == NothingEligible({"cooldown": 1}, MIDNIGHT)
    model = model_of([member(1, min_gap_seconds=60)], facts=facts)
    model.picked_ms[1] = NOW
    assert refusal(model) == NothingEligible({"cooldown": 1}, NOW + HOUR), "the gap ends before the rest does"


def test_two_picks_are_a_gap_apart() -> None:
    model = model_of([member(1, min_gap_seconds=60)])
    pick(model)
    assert refusal(model, now_ms=NOW + MINUTE - 1) == NothingEligible({"min_gap": 1}, NOW + MINUTE)
    assert pick(model, now_ms=NOW + MINUTE) == 1


def test_a_gap_that_is_asked_for_later_begins_with_the_next_pick() -> None:
    model = model_of([member(1)])
    pick(model)
    define(model, [member(1, min_gap_seconds=60)])
    assert picks(model, 2) == [1, None]
    define(model, [member(1)])
    assert pick(model) == 1


@pytest.mark.parametrize(
    ("called_ms", "wakes_ms"),
    [
        (NOW, NOW + HOUR + QUARTER),
        (NOW + QUARTER - 1, NOW + HOUR + QUARTER),
        (NOW - 1, NOW + HOUR),
        (NOW - HOUR, NOW + QUARTER),
        (NOW - HOUR - 1, None),
        (NOW + QUARTER, NOW + HOUR + 2 * QUARTER),  # dated ahead a little
        (NOW + 2 * QUARTER, None),
    ],
)
def test_an_hour_touches_five_quarters_and_has_room_again_when_the_first_has_left_it(
    called_ms: int, wakes_ms: int | None
) -> None:
    model = model_of([member(1, hourly_cap=1)])
    model.call(1, called_ms)
    for now_ms in (NOW, NOW + QUARTER - 1):
        if wakes_ms is None:
            assert chosen(model, now_ms=now_ms).callers == (1,)
        else:
            assert refusal(model, now_ms=now_ms) == NothingEligible({"hourly_cap": 1}, wakes_ms)


def test_an_hour_counts_reservations_and_they_may_be_what_it_waits_for() -> None:
    model = model_of([member(1, hourly_cap=2)])
    model.call(1, NOW - HOUR)
    assert picks(model, 2) == [1, None]
    assert refusal(model) == NothingEligible({"hourly_cap": 1}, NOW + QUARTER)
    model = model_of([member(1, hourly_cap=2)])
    assert picks(model, 3) == [1, 1, None]
    assert refusal(model) == NothingEligible({"hourly_cap": 1}, NOW + TTL)
    model = model_of([member(1, hourly_cap=2)])
    model.call(1, NOW + QUARTER)  # dated ahead a little, so that it is in the hour for longest
    assert picks(model, 2) == [1, None]
    assert refusal(model) == NothingEligible({"hourly_cap": 1}, NOW + TTL)


def test_reservations_last_as_long_as_the_policy_says() -> None:
    model = model_of([member(1, daily_cap=1)], policy=Policy(pick_ttl_seconds=10))
    pick(model)
    assert refusal(model).next_eligible_at_ms == NOW + 10 * SECOND


def test_a_customers_groups_share_calls_reservations_and_gaps() -> None:
    model = model_of([member(1, daily_cap=1)])
    define(model, [member(1, daily_cap=1)], id=GROUP + 1)
    pick(model)
    assert isinstance(model.choose(GROUP + 1, PickRequest(), NOW), NothingEligible)
    assert group([], id=GROUP + 1).id in model.groups
