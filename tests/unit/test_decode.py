"""Verdicts on a log's messages are a function of the log alone."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import structs

from histories import (
    DAY,
    HOUR,
    LOG,
    MINUTE,
    NOW,
    SECOND,
    USER,
    cleared,
    delivered,
    delivered_batch,
    delivered_event,
    delivered_marker,
    flagged,
    placed,
)
from rotary.domain.facts import QUARTER_MS, event_ms
from rotary.events import BATCH_CONTENT_TYPE, EVENT_CONTENT_TYPE, EXCHANGE, MAX_AHEAD_MS, Event, encode_event
from rotary.rabbitmq.stream import Delivery
from rotary.redis import keys
from rotary.redis.fold import Batch
from rotary_consumer.decode import FLAG_WEIGHT, LATE_MS, MAX_CALLS, MAX_LATE_MS, MessageDecoder, refusals

laws = settings(max_examples=100, deadline=None)
Log_ = Sequence[Delivery]


Fact = tuple[object, ...]


class Verdicts:
    """What became of a log's messages: the facts that were accepted, and the reasons by offset."""

    def __init__(self) -> None:
        self.accepted: set[Fact] = set()
        self.cleared: dict[Fact, int] = {}
        self.refused: dict[int, str] = {}
        self.positions: dict[int, tuple[int, frozenset[Fact]]] = {}
        """At each offset where a run ended, the marker in force and what had been accepted."""


def judged(
    log: Log_, decoder: MessageDecoder | None = None, pieces: Callable[[int], int] = lambda left: left, begin: int = 0
) -> Verdicts:
    """Reads a log as a reader does: takes some, decodes what can be judged, and looks further on for a marker when what
    it holds has none."""
    decoder = decoder or MessageDecoder(LOG.queue)
    verdicts, held, at = Verdicts(), list[Delivery](), begin
    while held or at < len(log):
        if at < len(log):
            size = max(1, pieces(len(log) - at))
            held += log[at : at + size]
            at += size
        while held:
            found = decoder.decode(held, None)
            if not found.deliveries:
                break
            verdicts.refused |= {offset: one.reason for offset, one in found.refused}
            for batch in found.batches.values():
                verdicts.accepted |= facts_in(batch)
                for caller, at_ms in clears_in(batch).items():
                    verdicts.cleared[caller] = max(at_ms, verdicts.cleared.get(caller, 0))
            verdicts.positions[found.end] = found.marker_ms, frozenset(verdicts.accepted)
            held = held[len(found.deliveries) :]
        if held and at >= len(log):
            break  # no marker follows: the verdict has to wait
    return verdicts


def facts_in(batch: Batch) -> set[Fact]:
    """Every fact on its way to Redis."""
    found = set[Fact]()
    for _, (customer, calls, flags) in batch.pieces():
        found |= {(customer, caller, number) for caller, _, numbers, *_ in calls for number in numbers}
        found |= {(customer, caller, flag) for caller, _, some, _ in flags for flag in some}
    return found


def calls_in(batch: Batch) -> set[Fact]:
    """Every call, with its UTC day, its quarter hour and its pick."""
    found = set[Fact]()
    for _, (_, calls, _) in batch.pieces():
        for caller, day, numbers, quarters, *picks in calls:
            named = {number: pick for some in picks for number, pick in some.items()}
            found |= {
                (caller, day, number, at, named.get(number)) for number, at in zip(numbers, quarters, strict=True)
            }
    return found


def clears_in(batch: Batch) -> dict[Fact, int]:
    """The last clear of each caller ID, on its way to Redis."""
    return {(customer, caller): at_ms for _, (customer, _, flags) in batch.pieces() for caller, at_ms, *_ in flags}


kinds = st.sampled_from(["event", "event", "event", "batch", "marker", "marker", "late marker", "foreign", "garbage"])


@st.composite
def logs(draw: st.DrawFn) -> list[Delivery]:
    """A log of some hours, with events around the edges of their windows, markers that are late, missing, repeated,
    somebody else's and garbage, clocks that are set back, and long stretches without any marker."""
    random = Random(draw(st.integers(0, 2**32)))
    log, now = list[Delivery](), NOW
    for offset, kind in enumerate(draw(st.lists(kinds, min_size=1, max_size=30))):
        now += random.choice([0, 1, 500, MINUTE, 20 * MINUTE, -HOUR if random.random() < 0.1 else 0])
        log.append(_delivery(offset, kind, now, random))
    # A reader publishes a marker when it attaches: a log never ends without one.
    return [*log, delivered_marker(len(log), now + 500)]


def _delivery(offset: int, kind: str, now: int, random: Random) -> Delivery:
    match kind:
        case "event":
            return delivered_event(offset, _event(offset, now, random), random.choice([7, 8]))
        case "batch":
            return delivered_batch(offset, [placed(f"{offset}-{n}", _time(now, random)) for n in range(3)])
        case "marker":
            return delivered_marker(offset, now)
        case "late marker":
            return delivered_marker(offset, now - random.choice([1, MINUTE, MAX_LATE_MS, HOUR]))
        case "foreign":
            return delivered_marker(offset, now + DAY, user="")
        case _:
            return Delivery(offset + 1, offset, "", LOG.queue, "text/plain", USER, random.randbytes(8))


def _time(now: int, random: Random) -> int:
    edges = [
        now,
        now + MAX_AHEAD_MS,
        now + MAX_AHEAD_MS + 1,
        now + 20 * MINUTE,
        now - 2 * DAY,
        now - 2 * DAY - 1,
        now - 30 * DAY,
    ]
    return random.choice(edges) + random.choice([0, 0, -MINUTE, MINUTE])


def _event(offset: int, now: int, random: Random) -> Event:
    at_ms = _time(now, random)
    makes: list[Callable[[], Event]] = [
        partial(placed, f"{offset}", at_ms),
        partial(flagged, f"{offset}", "blocked", at_ms),
        partial(cleared, f"{offset}", at_ms),
    ]
    return random.choice(makes)()


@laws
@given(logs(), st.integers(0, 2**32))
def test_verdicts_are_the_same_live_in_any_pieces_and_read_at_once(log: list[Delivery], seed: int) -> None:
    whole = judged(log)
    random = Random(seed)
    assert set(whole.refused) | set(whole.positions) <= set(range(len(log) + 1))
    for pieces in (lambda _: 1, lambda left: random.randint(1, left)):
        live = judged(log, pieces=pieces)
        assert (live.accepted, live.cleared) == (whole.accepted, whole.cleared)
        assert live.refused == whole.refused


@laws
@given(logs(), st.integers(0, 2**32))
def test_verdicts_are_the_same_from_any_stored_position(log: list[Delivery], seed: int) -> None:
    """A position is an offset with the marker in force there."""
    random = Random(seed)
    live = judged(log, pieces=lambda left: random.randint(1, left))
    whole = judged(log)
    for offset, (marker_ms, before) in live.positions.items():
        decoder = MessageDecoder(LOG.queue)
        decoder.marker_ms = marker_ms
        after = judged(log, decoder, begin=offset)
        assert after.refused == {at: reason for at, reason in whole.refused.items() if at >= offset}
        assert after.accepted | before == whole.accepted


@laws
@given(logs(), st.integers(-DAY, DAY))
def test_a_rehearsals_clock_shifts_every_verdict_alike(log: list[Delivery], offset_ms: int) -> None:
    one, other = (judged(log, MessageDecoder(LOG.queue, offset_ms), pieces=pieces) for pieces in (_one, _all))
    assert (one.refused, one.accepted, one.cleared) == (other.refused, other.accepted, other.cleared)


def _one(_: int) -> int:
    return 1


def _all(left: int) -> int:
    return left


def reasons(*log: Delivery) -> dict[int, str]:
    """The first word against each message that is not folded."""
    return {offset: reason.partition(":")[0] for offset, reason in judged(log).refused.items()}


def test_an_event_ahead_of_the_last_marker_is_judged_by_the_next() -> None:
    """As after an outage in which nobody marked: what looks hours ahead of its arrival arrived hours later."""
    event = delivered_event(1, placed("1", NOW + 3 * HOUR))
    assert reasons(delivered_marker(0, NOW), event, delivered_marker(2, NOW + 3 * HOUR)) == {}
    assert reasons(delivered_marker(0, NOW), event, delivered_marker(2, NOW + HOUR)) == {1: "out_of_window"}


def test_what_cannot_be_judged_before_the_next_marker_waits_with_all_that_follows() -> None:
    log = [delivered_marker(0, NOW), delivered_event(1, placed("1", NOW + HOUR)), delivered_event(2, placed("2", NOW))]
    decoder = MessageDecoder(LOG.queue)
    found = decoder.decode(log, None)
    assert (found.end, len(found.deliveries)) == (1, 1)
    assert not decoder.decode(log[1:], None).deliveries
    found = decoder.decode([*log[1:], delivered_marker(3, NOW + HOUR)], None)
    assert (found.end, found.refused, found.events) == (4, [], 2)


def test_a_marker_that_was_found_further_on_judges_what_is_held() -> None:
    held = [delivered_event(offset, placed(f"{offset}", NOW + HOUR)) for offset in range(3)]
    decoder = MessageDecoder(LOG.queue)
    decoder.marker_ms = NOW
    decoder.upcoming = (900_000, NOW + HOUR)
    found = decoder.decode(held, None)
    assert (found.end, found.events, found.refused) == (3, 3, [])
    assert decoder.marker_ms == NOW, "it is further on"


def test_a_marker_that_was_long_on_its_way_does_not_take_the_time_back() -> None:
    log = [delivered_marker(0, NOW), delivered_marker(1, NOW - MINUTE), delivered_event(2, placed("1", NOW - 2 * DAY))]
    assert reasons(*log) == {}
    assert judged(log).positions[3][0] == NOW


def test_a_clock_that_was_set_back_is_followed() -> None:
    log = [delivered_marker(0, NOW), delivered_marker(1, NOW - HOUR), delivered_marker(2, NOW - HOUR + SECOND)]
    assert judged(log).positions[3][0] == NOW - HOUR + SECOND


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"now",
        b"-1:0123456789abcdef",
        b"1780000000000:0123456789ABCDEF",
        b"1780000000000:0123456789abcdef\n",
        b"9" * 16 + b":0123456789abcdef",
        "١٢٣:0123456789abcdef".encode(),
        b"\xff" * 100,
    ],
)
def test_garbage_in_a_markers_place_is_parked_and_tells_no_time(garbage: bytes) -> None:
    log = [delivered_marker(0, NOW), Delivery(2, 1, "", LOG.queue, "", USER, garbage), delivered_event(2, placed("1"))]
    assert reasons(*log) == {1: "not_a_marker"}
    assert judged(log).positions[3][0] == NOW


def test_a_marker_whose_publisher_the_broker_does_not_name_tells_no_time() -> None:
    log = [delivered_marker(0, NOW), delivered_marker(1, NOW + DAY, user="")]
    assert reasons(*log) == {1: "not_a_marker"}
    assert judged(log).positions[2][0] == NOW


def test_a_marker_tells_the_time_whoever_the_consumers_were_at_the_time() -> None:
    log = [delivered_marker(0, NOW, user="before"), delivered_marker(1, NOW + DAY, user="since")]
    assert judged(log).positions[2][0] == NOW + DAY


def test_what_is_below_its_buckets_floor_is_passed_over() -> None:
    other = next(customer for customer in range(8, 99) if keys.bucket_of(customer) != keys.bucket_of(7))
    floors = [0] * keys.BUCKETS
    floors[keys.bucket_of(7)] = 2
    log = [delivered_event(offset, placed(f"{offset}"), of) for offset, of in enumerate([7, other, 7])]
    found = MessageDecoder(LOG.queue).decode([*log, delivered_marker(3, NOW)], floors)
    assert {batch.customer: len(facts_in(batch)) for batch in found.batches.values()} == {7: 1, other: 1}


def test_a_run_is_bounded_by_the_work_that_its_events_are_good_or_bad() -> None:
    calls = [delivered_batch(offset, [placed(f"{n}") for n in range(1000)]) for offset in range(19)]
    flags = [delivered_batch(offset, [flagged(f"{n}", "blocked") for n in range(1000)]) for offset in range(19)]
    junk = [
        delivered(offset, b"[" + b",".join([b"0"] * 1000) + b"]", content_type=BATCH_CONTENT_TYPE)
        for offset in range(19)
    ]
    for log, weight in ((calls, 1), (junk, 1), (flags, FLAG_WEIGHT)):
        decoder = MessageDecoder(LOG.queue)
        decoder.marker_ms = NOW
        found = decoder.decode(log, None)
        assert (found.events, len(found.deliveries)) == (MAX_CALLS // weight, MAX_CALLS // weight // 1000)


@given(st.lists(st.tuples(st.sampled_from([18, 19]), st.integers(0, 8 * QUARTER_MS)), max_size=12))
def test_each_call_of_a_message_counts_in_its_own_quarter_hour(calls: list[tuple[int, int]]) -> None:
    midnight = NOW // DAY * DAY
    events = [placed(f"{at}", midnight - HOUR + after_ms, caller) for at, (caller, after_ms) in enumerate(calls)]
    events += [structs.replace(one, data=structs.replace(one.data, pick_id="p")) for one in events[::2]]
    events += [structs.replace(one, time=one.time + timedelta(minutes=15)) for one in events[:2]]
    together, singly = Batch(7), Batch(7)
    times = [event_ms(event) for event in events] or [NOW]
    together.add_all(events, min(times), max(times))
    for event in events:
        singly.add(event)
    assert calls_in(together) == calls_in(singly)
    assert len(calls_in(together)) == len({(event.id, event_ms(event) // DAY) for event in events})


def test_what_a_batch_is_refused_for_is_one_refusal_with_every_index() -> None:
    events = [placed("0"), placed("1", NOW - 3 * DAY), placed("2", caller=99), placed("3", NOW + DAY)]
    log = [delivered_marker(0, NOW), delivered_batch(1, events), delivered_marker(2, NOW)]
    found = MessageDecoder(LOG.queue).decode(log, None)
    [(offset, one)] = refusals(found, {(7, 99), (8, 18)})
    assert (offset, one.body) == (1, log[1].body)
    assert one.reason.startswith("out_of_window: 2 of the batch, at 1, 3. At 1: ")
    assert "unknown_caller_id: 1 of the batch, at 2" in one.reason
    assert list(refusals(found, set())) == found.refused


@laws
@given(
    st.lists(st.tuples(st.binary(max_size=60), st.text(max_size=20), st.text(max_size=20), st.booleans()), max_size=9)
)
@example(
    [
        (
            encode_event(placed("1"))[:-1] + b',"odd":' + b"[" * 2000 + b"]" * 2000 + b"}",
            "call-placed.7",
            EVENT_CONTENT_TYPE,
            True,
        )
    ]
)
def test_the_decoder_raises_at_nothing(messages: list[tuple[bytes, str, str, bool]]) -> None:
    log = [
        Delivery(offset, offset, EXCHANGE if is_event else "", key, content_type, USER, body)
        for offset, (body, key, content_type, is_event) in enumerate(messages)
    ]
    verdicts = judged([*log, delivered_marker(len(log), NOW)])
    assert set(verdicts.refused) <= set(range(len(log)))


@pytest.mark.parametrize(("late_ms", "expected"), [(0, set()), (LATE_MS, set()), (LATE_MS + 1, {7})])
def test_the_customers_of_late_events_are_named(late_ms: int, expected: set[int]) -> None:
    """History has seen their day, perhaps."""
    log = [delivered_marker(0, NOW), delivered_batch(1, [placed("1", NOW), placed("2", NOW - late_ms)])]
    assert MessageDecoder(LOG.queue).decode(log, None).late == expected
