"""The fold function on a real server: it stores exactly what the pure merge gives, and knows when it lost some."""

from collections.abc import AsyncIterator, Sequence
from random import Random

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from given import DAY, HOUR, MINUTE, cleared, deliveries, flagged, histories, placed
from integration.private_redis import comparable, customers, expected, heard, names, private_redis, stored_tallies
from rotary.clock import system_clock
from rotary.domain.facts import DAY_MS, MAX_FLAGS, QUARTER_MS, QUARTERS_A_DAY, Facts, fold
from rotary.domain.quota import days_read
from rotary.errors import UnavailableError
from rotary.events import MAX_ID, Event, identity
from rotary.redis import keys
from rotary.redis.connection import run_id
from rotary.redis.facts import decode_counters, decode_flags
from rotary.redis.fold import FenceError, Folder, batch_of, flag_identity
from rotary.redis.reader import Reader
from rotary.redis.state import StateStore

pytestmark = pytest.mark.asyncio(loop_scope="function")

NOW = system_clock()()  # the server expires by its own clock, so these events are of today
TODAY = NOW // DAY_MS
DAYS = range(TODAY - 3, TODAY + 2)
CALLERS = (1, 18, MAX_ID)
E1, E2, E3 = "0001-a", "0002-b", "0003-c"


@pytest_asyncio.fixture(loop_scope="function")
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with private_redis(redis_url) as client:
        yield client


@pytest.fixture
def customer() -> int:
    return next(customers)


def folder_of(redis: Redis, consumer: str = "consumer-1", epoch: str = E1) -> Folder:
    folder = Folder(redis, consumer)
    folder.begin(epoch)
    return folder


async def folded(redis: Redis, customer: int, *events: Event) -> None:
    await folder_of(redis).fold({customer: batch_of(events)})


async def counters(redis: Redis, key: str) -> list[int]:
    value = await redis.get(key)
    assert isinstance(value, bytes)
    counts = decode_counters(value)
    return [*counts, *[0] * (QUARTERS_A_DAY - len(counts))]


async def agree(redis: Redis, customer: int, facts: dict[int, Facts], days: Sequence[int] = DAYS) -> None:
    stored = await stored_tallies(redis, customer, CALLERS, days)
    assert {caller: comparable(stored[caller], days) for caller in CALLERS} == expected(facts, CALLERS, days)


# The oracle


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_it_stores_what_the_pure_merge_gives(redis: Redis, data: st.DataObject) -> None:
    """Two customers' events, in any order, duplicated, in any batches, by two consumers in turn."""
    own = {next(customers): data.draw(histories(NOW, CALLERS)) for _ in range(2)}
    arriving = {customer: data.draw(deliveries(events)) for customer, events in own.items()}
    folders = [folder_of(redis, name) for name in ("consumer-1", "consumer-2")]
    random = Random(data.draw(st.integers(0, 2**32)))
    while any(arriving.values()):
        batches = {customer: batch_of(parts.pop()) for customer, parts in arriving.items() if parts}
        await random.choice(folders).fold(batches)
    for customer, events in own.items():
        await agree(redis, customer, fold({}, events))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=histories(NOW, CALLERS))
async def test_the_reader_reads_it(redis: Redis, events: list[Event]) -> None:
    customer = next(customers)
    await folded(redis, customer, *events)
    state = StateStore(redis)
    assert await state.acquire_rebuild("consumer-1")
    assert await state.finish_rebuild("consumer-1", await run_id(redis))
    read = await Reader(redis).facts(customer, CALLERS, NOW)
    days = days_read(NOW)
    facts = fold({}, events)
    assert {caller: comparable(tally, days) for caller, tally in read.facts.items()} == expected(facts, CALLERS, days)


async def test_a_source_that_breaks_its_promise_is_still_counted_once_a_day(redis: Redis, customer: int) -> None:
    early = TODAY * DAY_MS
    await folded(redis, customer, placed("1", early + HOUR))
    await folded(redis, customer, placed("1", early), placed("1", early + 2 * HOUR))
    assert sum(await counters(redis, keys.calls(customer, 18, TODAY))) == 1


async def test_flags_of_one_identity_end_as_the_pure_merge_ends_them(redis: Redis, customer: int) -> None:
    events: list[Event] = [
        flagged("1", "spam_label", NOW - HOUR),
        flagged("1", "blocked", NOW),
        flagged("1", "rejected", NOW),
        flagged("1", "user_report", NOW - 2 * HOUR),
    ]
    for event in events:
        await folded(redis, customer, event)
    await agree(redis, customer, fold({}, events))


async def test_the_widest_identities_survive_lua_whose_numbers_are_doubles(redis: Redis, customer: int) -> None:
    calls = [placed(str(n), TODAY * DAY_MS, MAX_ID) for n in range(200)]
    await folded(redis, customer, *calls)
    members = await redis.smembers(keys.seen(customer, MAX_ID, TODAY))
    assert {int(member) for member in members} == {identity(call.source, call.id) for call in calls}
    assert flag_identity(-(2**63)) == "0" * 16
    assert flag_identity(2**63 - 1) == "f" * 16


async def test_a_customers_facts_are_under_that_customers_keys(redis: Redis, customer: int) -> None:
    await folded(redis, customer, placed("1"), flagged("2", "blocked", NOW), placed("3", NOW))
    assert {name.partition("}:")[0] for name in await names(redis)} == {f"{{{customer}"}


# Caps and encodings


async def test_a_counter_saturates_rather_than_wraps(redis: Redis, customer: int) -> None:
    quarter = NOW // QUARTER_MS % QUARTERS_A_DAY
    key = keys.calls(customer, 18, TODAY)
    await redis.bitfield(key).set("u16", f"#{quarter}", 65_533).execute()
    await folded(redis, customer, *[placed(str(n), NOW) for n in range(2)])
    assert (await counters(redis, key))[quarter] == 65_535
    await folded(redis, customer, placed("2", NOW), placed("3", NOW + DAY))
    assert (await counters(redis, key))[quarter] == 65_535
    assert sum(await counters(redis, key)) == 65_535


async def test_the_newest_256_flags_are_kept(redis: Redis, customer: int) -> None:
    flags = [flagged(str(n), "rejected", NOW - n * MINUTE) for n in range(MAX_FLAGS + 50)]
    Random(1).shuffle(flags)
    for at in range(0, len(flags), 40):
        await folded(redis, customer, *flags[at : at + 40])
    value = await redis.get(keys.flags(customer, 18))
    assert isinstance(value, bytes)
    kept, clear = decode_flags(value)
    assert kept == fold({}, flags)[18].flags
    assert (len(kept), clear) == (MAX_FLAGS, None)


async def test_a_day_of_4096_calls_is_an_intset(redis: Redis, customer: int) -> None:
    calls = [placed(str(n), TODAY * DAY_MS + n * 20_000) for n in range(4096)]
    await folded(redis, customer, *calls)
    key = keys.seen(customer, 18, TODAY)
    assert (await redis.scard(key), await redis.object("ENCODING", key)) == (4096, b"intset")


async def test_a_batch_may_hold_any_number_of_calls_of_one_caller_id(redis: Redis, customer: int) -> None:
    await folded(redis, customer, *[placed(str(n), TODAY * DAY_MS) for n in range(10_000)])
    assert sum(await counters(redis, keys.calls(customer, 18, TODAY))) == 10_000


async def test_a_caller_id_with_200_calls_and_3_flags_takes_3_kib_at_most(redis: Redis, customer: int) -> None:
    async def memory() -> int:
        own = await names(redis, f"{{{customer}}}:*:18*")
        return sum([await redis.memory_usage(name, samples=0) or 0 for name in own])

    def of_ten_hours(first: int, last: int) -> list[Event]:
        return [placed(str(n), TODAY * DAY_MS + HOUR + n * 10 * HOUR // 2000) for n in range(first, last)]

    await folded(redis, customer, *of_ten_hours(0, 200), *[flagged(f"f{n}", "blocked", NOW) for n in range(3)])
    at_200 = await memory()
    assert at_200 <= 3 * 1024
    await folded(redis, customer, *of_ten_hours(200, 2000))
    assert (await memory() - at_200) / 1800 <= 10


async def test_keys_outlive_the_windows_in_which_their_events_may_arrive(redis: Redis, customer: int) -> None:
    yesterday = NOW - DAY
    await folded(redis, customer, placed("1", yesterday), flagged("2", "blocked", NOW), placed("3", yesterday))
    for key in (keys.calls(customer, 18, TODAY - 1), keys.seen(customer, 18, TODAY - 1)):
        assert await redis.expiretime(key) == (TODAY + 3) * 86_400, "three days after the day has ended"
    assert 35 * 86_400 - 60 <= await redis.ttl(keys.flags(customer, 18)) <= 35 * 86_400
    assert await redis.ttl(keys.fence(customer)) == -1


async def test_a_duplicate_moves_no_expiry(redis: Redis, customer: int) -> None:
    await folded(redis, customer, placed("1", NOW), flagged("2", "blocked", NOW))
    own = (keys.calls(customer, 18, TODAY), keys.seen(customer, 18, TODAY), keys.flags(customer, 18))
    before = [await redis.pexpiretime(name) for name in own]
    await folded(redis, customer, placed("1", NOW), flagged("2", "blocked", NOW))
    assert [await redis.pexpiretime(name) for name in own] == before


# Changes


async def test_one_message_a_fold_tells_everything_that_changed(redis: Redis, customer: int) -> None:
    quarter = NOW // QUARTER_MS % QUARTERS_A_DAY
    await folded(redis, customer, placed("0", NOW))
    async with heard(redis) as changes:
        calls = [placed("1", NOW), placed("2", NOW), placed("3", NOW - 2 * DAY), placed("0", NOW)]
        await folded(redis, customer, *calls, flagged("4", "blocked", NOW, MAX_ID), cleared("5", NOW, 7))
        documents = [await redis.get(keys.flags(customer, caller)) for caller in (MAX_ID, 7)]
        ((kind, of, counts, flags),) = await changes.facts()
    assert (kind, of) == ("facts", str(customer))
    assert counts == [("18", TODAY, [quarter, 3]), ("18", TODAY - 2, [quarter, 1])]
    assert [caller for caller, _ in flags] == [str(MAX_ID), "7"]
    for (_, told), document in zip(flags, documents, strict=True):
        assert isinstance(document, bytes)
        assert bytes(told).endswith(document), "within Lua's one type for text and bytes"


async def test_nothing_is_told_where_nothing_changed(redis: Redis, customer: int) -> None:
    events: list[Event] = [placed("1", NOW), flagged("2", "blocked", NOW), cleared("3", NOW)]
    await folded(redis, customer, *events)
    async with heard(redis) as changes:
        await folded(redis, customer, *events, *events)
        await folded(redis, customer, cleared("4", NOW - HOUR))
        await folded(redis, customer)
        assert await changes.facts() == []


# The fence: (stored epoch, stored number, the folder's epoch, the number it saw last) → the new number, or the refusal
FENCE: list[tuple[str, str | None, int, str, int, bytes | int]] = [
    ("an empty Redis, a new consumer", None, 0, E1, 0, 1),
    ("an empty Redis, a consumer that had folded", None, 0, E1, 5, b"EPOCH"),
    ("the number it saw last", E1, 5, E1, 5, 6),
    ("a number behind: acknowledged writes are lost", E1, 4, E1, 5, b"LOST"),
    ("a number ahead: a reply was lost", E1, 6, E1, 5, 7),
    ("a new process under a known name", E1, 6, E1, 0, 7),
    ("a consumer not seen before", E1, 0, E1, 0, 1),
    ("a consumer that the fence has forgotten", E1, 0, E1, 1, b"LOST"),
    ("an older generation, a consumer that had folded in the newer", E1, 5, E2, 5, b"LOST"),
    ("an older generation, a consumer that begins the newer", E1, 5, E2, 0, 1),
    ("a newer generation, a consumer of the older", E2, 5, E1, 5, b"EPOCH"),
    ("a newer generation, a consumer that begins the older", E2, 5, E1, 0, b"EPOCH"),
]


@pytest.mark.parametrize(
    ("stored", "number", "epoch", "last", "answer"), [case[1:] for case in FENCE], ids=[case[0] for case in FENCE]
)
async def test_the_fence(
    redis: Redis, customer: int, stored: str | None, number: int, epoch: str, last: int, answer: bytes | int
) -> None:  # fmt: skip
    fence = keys.fence(customer)
    if stored:
        await redis.hset(fence, mapping={"epoch": stored, "another": "9"})
    if number:
        await redis.hset(fence, "c", str(number))
    before = await redis.hgetall(fence)
    batch = batch_of([placed("1", NOW), flagged("2", "blocked", NOW)]).encode()
    assert await redis.fcall("fold", 1, fence, epoch, "c", last, batch) == answer
    is_refused = isinstance(answer, bytes)
    # A new generation begins with nobody's numbers.
    after = (before if stored == epoch or is_refused else {}) | (
        {} if is_refused else {b"epoch": epoch.encode(), b"c": str(answer).encode()}
    )
    assert await redis.hgetall(fence) == after
    assert len(await names(redis, f"{{{customer}}}:*:18*")) == (0 if is_refused else 3), "all or nothing"


async def test_a_consumer_that_begins_a_generation_ends_the_others_part_in_the_old_one(
    redis: Redis, customer: int
) -> None:
    old, new = folder_of(redis, "old", E1), folder_of(redis, "new", E2)
    await old.fold({customer: batch_of([placed("1", NOW)])})
    await new.fold({customer: batch_of([placed("2", NOW)])})
    with pytest.raises(FenceError, match="EPOCH") as raised:
        await old.fold({customer: batch_of([placed("3", NOW)])})
    assert (raised.value.kind, raised.value.customer) == ("EPOCH", customer)
    old.begin(E2)
    await old.fold({customer: batch_of([placed("3", NOW)])})
    assert sum(await counters(redis, keys.calls(customer, 18, TODAY))) == 3


async def test_a_fence_that_breaks_for_one_customer_lets_the_others_fold(redis: Redis) -> None:
    well, broken, last = (next(customers) for _ in range(3))
    folder = folder_of(redis)
    await folder.fold({customer: batch_of([placed("1", NOW)]) for customer in (well, broken, last)})
    await redis.delete(keys.fence(broken))
    with pytest.raises(FenceError, match=f"EPOCH at customer {broken}"):
        await folder.fold({customer: batch_of([placed("2", NOW)]) for customer in (well, broken, last)})
    counts = [sum(await counters(redis, keys.calls(customer, 18, TODAY))) for customer in (well, broken, last)]
    assert counts == [2, 1, 2]


# A server that is not as it should be


async def test_missing_functions_are_loaded_and_the_batch_is_folded(redis: Redis, customer: int) -> None:
    await redis.function_delete("rotary")
    await folded(redis, customer, placed("1", NOW))
    assert sum(await counters(redis, keys.calls(customer, 18, TODAY))) == 1


async def test_a_server_out_of_memory_folds_nothing_and_is_waited_for(redis: Redis, customer: int) -> None:
    folder = folder_of(redis)
    await folder.fold({customer: batch_of([placed("1", NOW)])})
    await redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(UnavailableError):
            await folder.fold({customer: batch_of([placed("2", NOW)])})
    finally:
        await redis.config_set("maxmemory", 0)
    assert sum(await counters(redis, keys.calls(customer, 18, TODAY))) == 1
    await folder.fold({customer: batch_of([placed("2", NOW)])})
    assert sum(await counters(redis, keys.calls(customer, 18, TODAY))) == 2
