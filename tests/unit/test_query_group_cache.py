"""The cache's bookkeeping, and the laws of merging what the change channel says."""

import gc
import random
import tracemalloc
from types import FunctionType, ModuleType

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histories import group, member
from rotary.domain.facts import (
    DAY_MS,
    MAX_FLAGS_OF_A_KIND,
    NO_FACTS,
    QUARTERS_A_DAY,
    CallerFacts,
    Flag,
    GroupFacts,
    pack_counts,
    unpack_counts,
)
from rotary.events import FLAG_KINDS
from rotary.http.responses import success
from rotary.redis.changes import CustomerFacts, FactsChanged, GroupsChanged, decode_change
from rotary.redis.documents import decode_group, encode_group
from rotary.redis.facts import decode_group_facts
from rotary.redis.fold import flag_identity
from rotary.redis.keys import BUCKETS, bucket_of
from rotary_query.cache.group_cache import FULL, MIN_REMEMBERED, Document, GroupCache, GroupMonitor, Key
from rotary_query.cache.merging import merge_change

CUSTOMER = 7
MONITOR: Key = ("monitor", CUSTOMER, 3)
DAY = 20_000


def facts_changed(calls: list[tuple[str, int, list[int]]], flags: dict[int, list[Flag]] | None = None) -> CustomerFacts:
    """One customer's part of a message as the Redis function packs it: its texts hold any bytes."""
    documents = []
    for caller, kept in (flags or {}).items():
        packed = msgspec.msgpack.encode((0, [(flag.at_ms, flag_identity(flag.identity), flag.kind) for flag in kept]))
        text = b"\xdb" + len(packed).to_bytes(4, "big") + packed
        documents.append((str(caller), msgspec.Raw(text)))
    decoded = decode_change(msgspec.msgpack.encode(("facts", [(str(CUSTOMER), calls, documents)])))
    assert isinstance(decoded, FactsChanged)
    return decoded.customers[0]


def facts_of_18(facts: CallerFacts = NO_FACTS) -> GroupFacts:
    """Of a group whose only member is 18."""
    return GroupFacts.of([18], {18: facts})


counts = st.lists(st.tuples(st.integers(0, 95), st.integers(1, 2**32 - 1)), min_size=1, max_size=5)


@given(
    messages=st.lists(st.tuples(st.sampled_from([17, 18]), st.integers(DAY, DAY + 2), counts), max_size=12),
    seed=st.integers(),
)
def test_counts_are_the_greatest_ever_told_in_any_order(
    messages: list[tuple[int, int, list[tuple[int, int]]]], seed: int
) -> None:
    told = [(str(caller), day, [number for pair in pairs for number in pair]) for caller, day, pairs in messages]
    arriving = told + told[: len(told) // 2]
    random.Random(seed).shuffle(arriving)
    counts_read = pack_counts([1, 2, 3])
    read = facts_of_18(CallerFacts({DAY: counts_read}))
    for message in arriving:
        merge_change(read, {18: 0}, facts_changed([message]))
    expected: dict[tuple[int, int], int] = {(DAY, 0): 1, (DAY, 1): 2, (DAY, 2): 3}
    for caller, day, pairs in messages:
        for quarter, calls in pairs if caller == 18 else []:
            expected[day, quarter] = max(calls, expected.get((day, quarter), 0))
    rows = {day: unpack_counts(counts or b"") for day, (counts,) in read.calls.items()}
    merged = {(day, at): calls for day, row in rows.items() for at, calls in enumerate(row) if calls}
    assert merged == expected
    assert counts_read == pack_counts([1, 2, 3]), "what was read is left as it is"


def test_days_long_gone_are_dropped_and_no_day_displaces_one_that_is_shown() -> None:
    entry = GroupMonitor(7, group([member(18), member(19)]), GroupFacts.of([18, 19], {}))
    days = [DAY - 1, DAY, DAY + 1]
    for day in [*days, *range(DAY - 40, DAY - 1), *range(DAY + 2, DAY + 9)]:
        entry.merge(facts_changed([("18" if day in days else "19", day, [0, 1])]))
    entry.answer(DAY * DAY_MS)
    assert sorted(entry.facts.calls) == list(range(DAY - 1, DAY + 9))
    assert [len([*filter(None, entry.facts.calls[day])]) for day in days] == [1, 1, 1]


@given(
    st.lists(st.builds(Flag, st.integers(0, 50), st.integers(-3, 3), st.sampled_from(FLAG_KINDS)), max_size=20),
    st.integers(),
)
def test_flags_are_the_union_in_any_order(flags: list[Flag], seed: int) -> None:
    unique = sorted({flag.identity: flag for flag in sorted(flags)}.values())
    arriving = [unique[:size] for size in range(len(unique) + 1)] * 2
    random.Random(seed).shuffle(arriving)
    read = facts_of_18()
    for document in arriving:
        merge_change(read, {18: 0}, facts_changed([], {18: document}))
    [(merged, cleared_at_ms)] = read.flags
    assert merged == tuple(unique)
    assert len(merged) <= MAX_FLAGS_OF_A_KIND
    assert cleared_at_ms is None


def _cache(limit: int = 2**20) -> tuple[GroupCache, list[tuple[int, int]]]:
    touched: list[tuple[int, int]] = []
    cache = GroupCache(limit, lambda customer, group_id: touched.append((customer, group_id)))
    cache.open()
    return cache, touched


def objects_held(root: object) -> int:
    """How many objects can be reached from here, besides code."""
    seen, waiting = set[int](), [root]
    while waiting:
        one = waiting.pop()
        if id(one) not in seen and not isinstance(one, type | FunctionType | ModuleType):
            seen.add(id(one))
            waiting += gc.get_referents(one)
    return len(seen)


def test_a_change_during_a_load_is_in_what_is_installed() -> None:
    cache, touched = _cache()
    load = cache.begin(MONITOR)
    cache.apply_facts(facts_changed([("18", DAY, [5, 9])]))
    read = facts_of_18(CallerFacts({DAY: pack_counts([0, 0, 0, 0, 0, 8, 1])}))
    entry = cache.install_monitor(load, group([member(18)]), read)
    cache.end(load)
    [counts] = entry.facts.calls[DAY]
    assert unpack_counts(counts or b"")[:7] == (0, 0, 0, 0, 0, 9, 1)
    assert cache.get(MONITOR) is entry
    assert touched == [], "nobody could have shown it before"
    cache.apply_facts(facts_changed([("18", DAY, [5, 10])]))
    assert touched == [(CUSTOMER, 3)]


def test_a_load_is_void_when_its_definition_changes_or_its_bucket_or_all_is_dropped() -> None:
    for spoil in (
        lambda cache: cache.apply_groups(GroupsChanged(str(CUSTOMER), [3])),
        lambda cache: cache.empty(),
        lambda cache: cache.drop(bucket_of(CUSTOMER)),
        lambda cache: cache.close(),
        lambda cache: (cache.close(), cache.open()),
    ):
        cache, _ = _cache()
        load = cache.begin(MONITOR)
        spoil(cache)
        cache.install_monitor(load, group([member(18)]), facts_of_18())
        cache.end(load)
        assert cache.get(MONITOR) is None
        assert cache.bytes_held == 0


def test_a_closed_cache_keeps_nothing() -> None:
    cache = GroupCache(2**20, lambda _customer, _group: None)
    load = cache.begin(("groups", CUSTOMER, 0))
    cache.install_document(load, Document(success(b"{}")))
    cache.end(load)
    assert len(cache) == 0


@given(st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=60))
def test_bytes_and_links_are_exact_whatever_comes_and_goes(steps: list[tuple[int, bool]]) -> None:
    cache, _ = _cache(limit=40_000)
    remembered = set[Key]()
    for group_id, is_removed in steps:
        if is_removed:
            cache.apply_groups(GroupsChanged(str(CUSTOMER), [group_id]))
            remembered.discard(("monitor", CUSTOMER, group_id))
            continue
        key: Key = ("monitor", CUSTOMER, group_id)
        load = cache.begin(key)
        members = [member(caller) for caller in range(group_id, group_id + 5)]
        callers = [one.id for one in members]
        read = GroupFacts.of(callers, dict.fromkeys(callers, CallerFacts({DAY: pack_counts([1])})))
        has_room = cache.bytes_held < FULL * 40_000
        is_kept = has_room or key in remembered or cache.get(key) is not None
        entry = cache.install_monitor(load, group(members), read)
        cache.end(load)
        assert (cache.get(key) is entry) == is_kept, "kept if there is room or it was read before"
        remembered = remembered - {key} if is_kept else remembered | {key}
        assert cache.bytes_held <= 40_000
    cache.apply_groups(GroupsChanged(str(CUSTOMER), list(range(1, 13))))
    assert (len(cache), cache.bytes_held) == (0, 0)
    assert objects_held(cache) == objects_held(_cache(limit=40_000)[0]), "nothing is left of what went"


def test_dropping_a_bucket_drops_it_alone_and_tells_who_watches() -> None:
    cache, touched = _cache()
    stranger = next(number for number in range(8, 100) if bucket_of(number) != bucket_of(CUSTOMER))
    for customer in (CUSTOMER, stranger):
        load = cache.begin(("monitor", customer, 3))
        cache.install_monitor(load, group([member(18)]), facts_of_18())
        cache.end(load)
        load = cache.begin(("groups", customer, 0))
        cache.install_document(load, Document(success(b"{}")))
        cache.end(load)
    under_way = cache.begin(("monitor", stranger, 4))
    cache.drop(bucket_of(CUSTOMER))
    assert cache.get(MONITOR) is None
    assert cache.get(("groups", CUSTOMER, 0)) is None
    assert len(cache) == 2
    assert cache.holds(under_way)
    assert touched == [(CUSTOMER, 3)]
    cache.end(under_way)
    for bucket in range(BUCKETS):
        cache.drop(bucket)
    assert (len(cache), cache.bytes_held) == (0, 0)


def _read(cache: GroupCache, group_id: int) -> bool:
    """Reads a document of 6,200 bytes, as a request does that does not find it. Returns whether it was there."""
    key: Key = ("group", CUSTOMER, group_id)
    if cache.get(key) is not None:
        return True
    load = cache.begin(key)
    cache.install_document(load, Document(success(b"x" * 5_000)))
    cache.end(load)
    return False


def test_the_least_recently_used_goes_first() -> None:
    cache, _ = _cache(limit=20_000)
    for number in (1, 2, 3):
        _read(cache, number)
    assert [_read(cache, number) for number in (1, 2, 3, 1)] == [True] * 4
    _read(cache, 4)
    _read(cache, 4)
    assert [cache.get(("group", CUSTOMER, number)) is not None for number in (1, 2, 3, 4)] == [True, False, True, True]


def test_a_scan_does_not_displace_what_is_in_use() -> None:
    cache, _ = _cache(limit=20_000)
    for number in (1, 2, 3):
        _read(cache, number)
    for number in range(100, 1_000):
        assert not _read(cache, number)
    assert all(_read(cache, number) for number in (1, 2, 3))


@pytest.mark.parametrize(("others", "is_kept"), [(0, True), (MIN_REMEMBERED - 1, True), (MIN_REMEMBERED, False)])
def test_what_is_read_again_soon_is_kept_also_when_the_cache_is_full(others: int, is_kept: bool) -> None:
    cache, _ = _cache(limit=20_000)
    for number in (1, 2, 3, 4, *range(100, 100 + others), 4):
        _read(cache, number)
    assert _read(cache, 4) == is_kept


def test_what_is_watched_is_kept_also_when_the_cache_is_full() -> None:
    cache, _ = _cache(limit=20_000)
    for number in (1, 2, 3):
        _read(cache, number)
    cache.expect(("group", CUSTOMER, 4))
    _read(cache, 4)
    cache.expect(("group", CUSTOMER, 4))
    assert _read(cache, 4)


def test_a_full_cache_that_was_emptied_keeps_what_is_read_next() -> None:
    cache, _ = _cache(limit=20_000)
    for number in (1, 2, 3, 4):
        _read(cache, number)
    cache.empty()
    _read(cache, 5)
    assert _read(cache, 5)


@pytest.mark.parametrize(("members", "days"), [(1, 1), (12, 0), (12, 1), (12, 2), (100, 1)])
def test_the_memory_that_is_counted_for_a_monitor_is_what_it_takes_and_up_to_half_more(members: int, days: int) -> None:
    document = encode_group(group([member(10**12 + at) for at in range(members)]))
    counts = pack_counts([*range(QUARTERS_A_DAY)])
    tracemalloc.start()
    try:
        entries = [_monitor(document, counts, days) for _ in range(20)]
        taken = tracemalloc.get_traced_memory()[0] / len(entries)
    finally:
        tracemalloc.stop()
    assert taken < entries[0].bytes_held() < 1.5 * taken


def _monitor(document: bytes, counts: bytes, days: int) -> GroupMonitor:
    """As it is read: nothing of it is shared with another."""
    read = decode_group(document)
    asked = range(DAY, DAY + days)
    values = [value for _ in read.members for value in (None, *(bytes(bytearray(counts)) for _ in asked))]
    entry = GroupMonitor(7, read, decode_group_facts(asked, values))
    entry.answer(DAY * DAY_MS)
    return entry
