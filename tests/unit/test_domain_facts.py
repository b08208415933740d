"""Facts form a semilattice: whatever the order, the duplication and the batches, the union is the same."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from histories import DAY, HOUR, NOW, cleared, deliveries, facts_about, flagged, histories, moment, placed, utc
from rotary.domain.facts import (
    DAY_MS,
    MAX_FLAGS_OF_A_KIND,
    QUARTER_MS,
    QUARTERS_A_DAY,
    CallerFacts,
    Facts,
    Flag,
    event_ms,
    fold,
    merge,
    merge_flags,
    pack_counts,
    total,
    unpack_counts,
)
from rotary.events import FLAG_KINDS, CallPlaced, Event, FlagKind, identity

laws = settings(max_examples=60, deadline=None)


@st.composite
def three_facts(draw: st.DrawFn) -> tuple[Facts, Facts, Facts]:
    """Facts about one caller ID that overlap, as three consumers may hold them."""
    events = draw(histories(callers=(18,)))
    parts = [draw(deliveries(events)) for _ in range(3)]
    a, b, c = (facts_about(part[0] if part else []) for part in parts)
    return a, b, c


@laws
@given(three_facts())
def test_merge_is_commutative_associative_and_idempotent(given_facts: tuple[Facts, Facts, Facts]) -> None:
    a, b, c = given_facts
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(a, a) == a
    assert merge(a, Facts()) == a
    assert merge(merge(a, b), a) == merge(a, b)


@laws
@given(st.data())
def test_any_order_duplication_and_batches_give_the_same_facts(data: st.DataObject) -> None:
    events = data.draw(histories())
    batches = data.draw(deliveries(events))
    straight = fold({}, events)

    in_turn: dict[int, Facts] = {}
    for batch in batches:
        in_turn = fold(in_turn, batch)
    assert in_turn == straight

    apart = [fold({}, batch) for batch in batches]
    for caller, facts in straight.items():
        together = Facts()
        for folded in apart:
            together = merge(together, folded.get(caller, Facts()))
        assert together == facts


flag = st.builds(
    Flag, st.integers(NOW - 5, NOW), st.integers(-3, 3), st.sampled_from(["spam_label", "blocked", "rejected"])
)


@st.composite
def some_flags(draw: st.DrawFn) -> list[Flag]:
    """Few flags of few identities, and now and then as many of one kind as are kept."""
    crowd: list[Flag] = []
    if draw(st.booleans()):
        kind = draw(st.sampled_from(FLAG_KINDS))
        crowd = [Flag(NOW - 3 + n % 3, 100 + n, kind) for n in range(MAX_FLAGS_OF_A_KIND)]
    return draw(st.lists(flag)) + crowd


@laws
@given(some_flags(), some_flags(), some_flags())
def test_flags_merge_alike_even_where_a_source_breaks_its_promise(a: list[Flag], b: list[Flag], c: list[Flag]) -> None:
    """One identity with two times or kinds: every order agrees on what becomes of it."""
    assert merge_flags(a, b) == merge_flags(b, a)
    assert merge_flags(merge_flags(a, b), c) == merge_flags(a, merge_flags(b, c)) == merge_flags([*a, *b, *c], ())
    merged = merge_flags(a, b)
    assert all(earlier < later for earlier, later in pairwise(merged))
    assert len({(kept.kind, kept.identity) for kept in merged}) == len(merged)


def test_what_one_kind_leaves_out_never_comes_back_as_another() -> None:
    """The identity 7 with two kinds, one of which is pushed out: the order of the merges does not show."""
    early, late = Flag(NOW - 2, 7, "blocked"), Flag(NOW - 1, 7, "rejected")
    crowd = [Flag(NOW, 100 + n, "rejected") for n in range(MAX_FLAGS_OF_A_KIND)]
    assert merge_flags(merge_flags([early], [late]), crowd) == merge_flags([early], merge_flags([late], crowd))


def test_a_broken_promise_leaves_a_call_in_the_earliest_quarter_hour_counted_once() -> None:
    early, late = placed("1", NOW), placed("1", NOW + HOUR)
    assert facts_about([early, late]) == facts_about([late, early]) == facts_about([early])


def test_the_newest_64_flags_of_each_kind_are_kept() -> None:
    events = [
        flagged(f"{kind}-{n}", kind, NOW - n * HOUR) for n in range(MAX_FLAGS_OF_A_KIND + 44) for kind in FLAG_KINDS
    ]
    kept = facts_about(events).flags
    assert Counter(flag.kind for flag in kept) == dict.fromkeys(FLAG_KINDS, MAX_FLAGS_OF_A_KIND)
    assert kept == facts_about(events[: len(FLAG_KINDS) * MAX_FLAGS_OF_A_KIND]).flags
    assert kept[-1].at_ms == NOW


@pytest.mark.parametrize("kind", FLAG_KINDS)
def test_no_number_of_newer_flags_of_other_kinds_hides_one(kind: FlagKind) -> None:
    crowd = [flagged(f"{other}-{n}", other) for other in FLAG_KINDS if other != kind for n in range(300)]
    one = flagged("1", kind, NOW - 29 * DAY)
    assert Flag(NOW - 29 * DAY, identity("/feed", "1"), kind) in facts_about([one, *crowd]).flags


def test_of_flags_at_one_time_those_with_the_greatest_identities_are_kept() -> None:
    events = [flagged(str(n), "spam_label") for n in range(MAX_FLAGS_OF_A_KIND + 44)]
    identities = sorted(identity(event.source, event.id) for event in events)
    assert [kept.identity for kept in facts_about(events).flags] == identities[44:]


def test_the_last_clear_holds_however_late_an_earlier_one_arrives() -> None:
    events = [cleared("2", NOW), cleared("1", NOW - HOUR)]
    assert facts_about(events).cleared_at_ms == NOW


def test_events_are_facts_about_the_caller_id_they_name_alone() -> None:
    folded = fold({}, [placed("1", caller=1), flagged("2", "blocked", caller=2), cleared("3", caller=3)])
    assert {caller: (len(f.calls), len(f.flags), f.cleared_at_ms) for caller, f in folded.items()} == {
        1: (1, 0, None),
        2: (0, 1, None),
        3: (0, 0, NOW),
    }


def test_folding_leaves_what_was_folded_before_untouched() -> None:
    before = fold({}, [placed("1")])
    fold(before, [placed("2")])
    assert before == fold({}, [placed("1")])


def test_the_same_id_from_another_source_is_another_fact() -> None:
    assert len(facts_about([placed("1", source="/a"), placed("1", source="/b"), placed("1", source="/a")]).calls) == 2


@pytest.mark.parametrize(
    ("time", "day", "quarter"),
    [
        ("2026-06-06T00:00:00Z", "2026-06-06", 0),
        ("2026-06-06T00:14:59.999Z", "2026-06-06", 0),
        ("2026-06-06T00:15:00Z", "2026-06-06", 1),
        ("2026-06-06T23:59:59.999Z", "2026-06-06", 95),
        ("2026-06-07T06:59:59.999+07:00", "2026-06-06", 95),
        ("2026-06-07T07:00:00+07:00", "2026-06-07", 0),
        ("2024-02-29T23:45:00Z", "2024-02-29", 95),
        ("2024-03-01T05:29:00+05:30", "2024-02-29", 95),
    ],
)
def test_a_call_counts_in_the_quarter_hour_of_its_own_time(time: str, day: str, quarter: int) -> None:
    counts = [0] * QUARTERS_A_DAY
    counts[quarter] = 1
    caller_facts = facts_about([placed("1", utc(time))]).caller_facts()
    assert caller_facts == CallerFacts({utc(f"{day}T00:00:00Z") // DAY_MS: pack_counts(counts)})


@given(st.integers(utc("2020-01-01T00:00:00Z"), utc("2040-01-01T00:00:00Z")), st.integers(0, 999))
def test_an_events_time_is_rounded_down_to_the_millisecond(at_ms: int, microseconds: int) -> None:
    time = moment(at_ms).replace(microsecond=at_ms % 1000 * 1000 + microseconds)
    assert event_ms(replace(placed("1"), time=time)) == at_ms


@given(st.lists(st.sampled_from([0, 0, 1, 7, 2**23 - 1, 2**23, 2**25, 2**32 - 1]), max_size=QUARTERS_A_DAY))
def test_counts_are_what_was_packed_and_their_total_is_the_sum(quarters: list[int]) -> None:
    assert unpack_counts(pack_counts(quarters)) == tuple(quarters)
    assert total(pack_counts(quarters)) == total(bytearray(pack_counts(quarters))) == sum(quarters)


@pytest.mark.parametrize("count", [0, 2**23 - 1, 2**23, 2**25, 2**32 - 1])
def test_a_total_is_exact_however_large_the_counts_are(count: int) -> None:
    for quarters in (1, QUARTERS_A_DAY):
        assert total(pack_counts([count] * quarters)) == count * quarters


@laws
@given(histories(callers=(18,)))
def test_a_tally_counts_every_call_once_and_keeps_flags_and_clear(events: list[Event]) -> None:
    facts = facts_about(events)
    caller_facts = facts.caller_facts()
    calls = sum(isinstance(event, CallPlaced) for event in events)
    assert sum(map(total, caller_facts.calls.values())) == calls
    assert (caller_facts.flags, caller_facts.cleared_at_ms) == (facts.flags, facts.cleared_at_ms)


@pytest.mark.parametrize("kind", ["spam_label", "blocked", "user_report", "rejected"])
def test_a_flag_keeps_its_kind_and_time(kind: FlagKind) -> None:
    assert facts_about([flagged("1", kind, NOW - DAY)]).flags == (Flag(NOW - DAY, identity("/feed", "1"), kind),)


def test_what_is_kept_is_as_documented() -> None:
    assert (QUARTER_MS, QUARTERS_A_DAY, DAY_MS, MAX_FLAGS_OF_A_KIND) == (900_000, 96, 86_400_000, 64)
