"""Plans: eligibility as the atomic function is given it, warm-up, and who is preferred."""

from itertools import groupby, pairwise

from hypothesis import given
from hypothesis import strategies as st

from histories import DAY, HOUR, NOW, flags, utc
from pick_groups import group, member
from rotary.domain.facts import CallerFacts
from rotary.domain.quota import today
from rotary.domain.rotation.plan import PHASES, Preferences, effective_cap, make_plan
from rotary.policy import Policy, WarmUpStep

WARM_UP = Policy(warm_up=(WarmUpStep(3, 20), WarmUpStep(7, 50)))


def test_a_plan_has_the_members_that_are_not_disabled_and_counts_the_others() -> None:
    plan = make_plan(group([member(1), member(2, status="disabled"), member(3)]), {}, NOW)
    assert [one.id for one in plan.members] == [1, 3]
    assert plan.disabled == 1


def test_a_planned_member_is_described_as_it_is_defined() -> None:
    one = member(1, display_name="Sales", carrier="mobifone", trunk_name="trunk-2")
    (planned,) = make_plan(group([one]), {}, NOW).members
    assert (planned.number, planned.display_name) == (one.number, "Sales")
    assert (planned.carrier, planned.trunk_name) == ("mobifone", "trunk-2")


def test_a_disabled_groups_plan_has_nobody() -> None:
    plan = make_plan(group([member(1)], status="disabled"), {}, NOW)
    assert (plan.status, plan.members) == ("disabled", ())


def test_a_member_rests_as_long_as_its_flags_say_or_until_a_clear() -> None:
    label = flags(("spam_label", NOW - HOUR))
    facts = {1: CallerFacts({}, label), 2: CallerFacts({}, flags(("rejected", NOW))), 3: CallerFacts({}, label, NOW)}
    plan = make_plan(group([member(1), member(2), member(3)]), facts, NOW)
    assert [one.until_ms for one in plan.members] == [NOW + 5 * HOUR, 0, 0]


def test_a_plans_day_is_the_customers() -> None:
    plan = make_plan(group([member(1)], timezone="Asia/Kathmandu"), {}, NOW)
    assert (plan.day_begin, plan.day_end) == today("Asia/Kathmandu", NOW // 900_000)


def test_sticky_is_the_strategy_or_the_switch() -> None:
    assert make_plan(group([], "sticky_lead"), {}, NOW).is_sticky
    assert make_plan(group([], "random", sticky_enabled=True), {}, NOW).is_sticky
    assert not make_plan(group([], "least_used"), {}, NOW).is_sticky


def test_warm_up_is_by_the_customers_days_since_activation() -> None:
    activated = utc("2026-06-01T16:59:00Z")  # a minute before midnight in Ho Chi Minh City
    warming = group([member(1, activated_ms=activated, daily_cap=100)], policy=WARM_UP, timezone="Asia/Ho_Chi_Minh")
    plans = [
        make_plan(warming, {}, activated + shift)
        for shift in (0, 60_000, DAY, 2 * DAY, 2 * DAY + 60_000, 6 * DAY, 6 * DAY + 60_000)
    ]
    assert [one.cap for plan in plans for one in plan.members] == [20, 20, 20, 20, 50, 50, 100]


def test_warm_up_never_raises_a_cap_and_leaves_the_warmed_up_alone() -> None:
    assert effective_cap(member(1, activated_ms=NOW, daily_cap=5), WARM_UP, "UTC", NOW) == 5
    assert effective_cap(member(1, daily_cap=100), WARM_UP, "UTC", NOW) == 100
    assert effective_cap(member(1, activated_ms=NOW, daily_cap=100), Policy(), "UTC", NOW) == 100


def test_phases_spread_neighbouring_ids_over_the_round() -> None:
    plan = make_plan(group([member(number) for number in range(1, 33)]), {}, NOW)
    phases = sorted(one.phase / PHASES for one in plan.members)
    gaps = [later - earlier for earlier, later in pairwise(phases)]
    assert max(gaps) < 3 / 32


# Prefixes are any text, and so are numbers from before the check of their digits.
_numbers = st.text(alphabet="0X|", min_size=1, max_size=4)
_carriers = st.sampled_from(["viettel", "mobifone"])


@given(
    st.lists(st.tuples(_numbers, _carriers, st.booleans()), min_size=1, max_size=8),
    st.none() | _carriers,
    st.none() | _numbers,
)
def test_the_first_class_with_anybody_in_it_is_the_best_there_is(
    numbers: list[tuple[str, str, bool]], carrier: str | None, prefix: str | None
) -> None:
    """Those who can be picked are any of the active: classes are of all, and must be right for each selection."""
    members = [member(at, number=number, carrier=own) for at, (number, own, _) in enumerate(numbers, 1)]
    pickable = [one for one, (_, _, is_pickable) in zip(members, numbers, strict=True) if is_pickable]
    preferences = Preferences(group(members))
    classes = [*preferences.classes(carrier, prefix), "|"]  # type: ignore[arg-type]
    first = next(
        (some for name in classes if (some := [one for one in pickable if one.id in preferences.callers(name)])), []
    )
    best = [one for one in pickable if one.carrier == carrier] or pickable
    shared = {one.id: _shared(one.number, prefix or "") for one in best}
    assert first == [one for one in best if shared[one.id] == max(shared.values())]


@given(
    st.lists(st.tuples(_numbers, _carriers, st.booleans()), max_size=8),
    st.sampled_from(["", "viettel", "mobifone", "landline"]),
    st.just("") | _numbers,
)
def test_a_class_has_the_active_members_of_its_carrier_whose_numbers_begin_so(
    numbers: list[tuple[str, str, bool]], carrier: str, prefix: str
) -> None:
    members = [
        member(at, number=number, carrier=own, status="active" if is_active else "disabled")
        for at, (number, own, is_active) in enumerate(numbers, 1)
    ]
    of_carrier = [one for one in members if one.status == "active" and carrier in ("", one.carrier)]
    expected = [one.id for one in of_carrier if one.number.startswith(prefix)]
    assert sorted(Preferences(group(members)).callers(f"{carrier}|{prefix}")) == expected


@given(st.lists(st.tuples(_numbers, _carriers), max_size=8), st.none() | _carriers, _numbers)
def test_a_shorter_beginning_is_a_class_only_if_more_numbers_have_it(
    numbers: list[tuple[str, str]], carrier: str | None, prefix: str
) -> None:
    preferences = Preferences(
        group([member(at, number=number, carrier=own) for at, (number, own) in enumerate(numbers)])
    )
    names = [name.partition("|") for name in preferences.classes(carrier, prefix)]  # type: ignore[arg-type]
    for own, some in groupby(names, key=lambda name: name[0]):
        having = [set(preferences.callers(f"{own}|{beginning}")) for _, _, beginning in some if beginning]
        assert all(fewer < more for fewer, more in pairwise([set[int](), *having]))


def _shared(number: str, prefix: str) -> int:
    return max(length for length in range(len(prefix) + 1) if number.startswith(prefix[:length]))
