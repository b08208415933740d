"""The fold function on a real server: it stores exactly what the pure merge gives."""

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from histories import DAY, HOUR, MINUTE, cleared, deliveries, flagged, histories, placed
from integration.folding import NOW, TODAY, Folds, counters
from integration.private_redis import (
    comparable,
    customers,
    expected,
    heard,
    names,
    stored_facts,
)
from rotary.domain.facts import DAY_MS, MAX_CLEARS, MAX_FLAGS_OF_A_KIND, QUARTER_MS, QUARTERS_A_DAY, Facts, fold
from rotary.errors import UnavailableError
from rotary.events import FLAG_KINDS, MAX_ID, Event, identity
from rotary.redis import keys
from rotary.redis.connection import FunctionsMissingError, load_functions
from rotary.redis.facts import COUNTERS_KEPT_DAYS, FLAGS_KEPT_DAYS, decode_flags, decode_past_flags
from rotary.redis.fold import flag_identity

pytestmark = pytest.mark.asyncio(loop_scope="function")

DAYS = range(TODAY - 3, TODAY + 2)
CALLERS = (1, 18, MAX_ID)


async def agree(redis: Redis, customer: int, facts: dict[int, Facts], days: Sequence[int] = DAYS) -> None:
    stored = await stored_facts(redis, customer, CALLERS, days)
    assert {caller: comparable(stored[caller], days) for caller in CALLERS} == expected(facts, CALLERS, days)


# The oracle


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_it_stores_what_the_pure_merge_gives(folds: Folds, redis: Redis, data: st.DataObject) -> None:
    """Two customers' events, in any order, duplicated, in any batches."""
    own = {next(customers): data.draw(histories(NOW, CALLERS)) for _ in range(2)}
    arriving = {customer: data.draw(deliveries(events)) for customer, events in own.items()}
    while any(arriving.values()):
        await folds.all([(of, event) for of, parts in arriving.items() if parts for event in parts.pop()])
    for customer, events in own.items():
        await agree(redis, customer, fold({}, events))


async def test_a_source_that_breaks_its_promise_is_still_counted_once_a_day(
    folds: Folds, redis: Redis, customer: int
) -> None:
    early = TODAY * DAY_MS
    await folds(customer, placed("1", early + HOUR))
    await folds(customer, placed("1", early), placed("1", early + 2 * HOUR))
    assert sum(await counters(redis, keys.calls(customer, 18, TODAY))) == 1


async def test_flags_of_one_identity_end_as_the_pure_merge_ends_them(folds: Folds, redis: Redis, customer: int) -> None:
    crowd = [flagged(f"{n}-", "rejected", NOW + n) for n in range(MAX_FLAGS_OF_A_KIND)]
    events: list[Event] = [
        flagged("1", "spam_label", NOW - HOUR),
        flagged("1", "blocked", NOW),
        flagged("1", "rejected", NOW),
        flagged("1", "blocked", NOW - 2 * HOUR),
        *crowd,
    ]
    for event in events:
        await folds(customer, event)
    await agree(redis, customer, fold({}, events))


async def test_the_widest_identities_survive_lua_whose_numbers_are_doubles(
    folds: Folds, redis: Redis, customer: int
) -> None:
    calls = [placed(str(n), TODAY * DAY_MS, MAX_ID) for n in range(200)]
    await folds(customer, *calls)
    members = await redis.smembers(keys.seen(customer, MAX_ID, TODAY))
    assert {int(member) for member in members} == {identity(call.source, call.id) for call in calls}
    assert flag_identity(-(2**63)) == "0" * 16
    assert flag_identity(2**63 - 1) == "f" * 16


async def test_a_customers_facts_are_under_that_customers_keys(folds: Folds, redis: Redis, customer: int) -> None:
    await folds(customer, placed("1"), flagged("2", "blocked", NOW), placed("3", NOW))
    bucket = keys.bucket_of(customer)
    own = {name for name in await names(redis) if name != keys.position(bucket)}
    assert own
    assert all(name.startswith(keys.facts_prefix(customer)) for name in own)


# Caps and encodings


async def test_counts_go_beyond_16_bits_up_to_32(folds: Folds, redis: Redis, customer: int) -> None:
    quarter = NOW // QUARTER_MS % QUARTERS_A_DAY
    key = keys.calls(customer, 18, TODAY)
    for before, after in ((65_534, 65_536), (2**32 - 3, 2**32 - 1)):
        await redis.bitfield(key).set("u32", f"#{quarter}", before).execute()
        await folds(customer, *[placed(f"{before}-{n}", NOW) for n in range(2)])
        counts = await counters(redis, key)
        assert counts[quarter] == after
        assert sum(counts) == after, "no other quarter hour is touched"


async def test_the_newest_64_flags_of_each_kind_are_kept(folds: Folds, redis: Redis, customer: int) -> None:
    minutes = range(MAX_FLAGS_OF_A_KIND + 50)
    flags = [flagged(f"{kind}-{n}", kind, NOW - n * MINUTE) for n in minutes for kind in FLAG_KINDS]
    Random(1).shuffle(flags)
    for at in range(0, len(flags), 90):
        await folds(customer, *flags[at : at + 90])
    value = await redis.get(keys.flags(customer, 18))
    assert isinstance(value, bytes)
    kept, clear = decode_flags(value)
    assert kept == fold({}, flags)[18].flags
    assert (len(kept), clear) == (4 * MAX_FLAGS_OF_A_KIND, None)


@pytest.mark.parametrize("kind", FLAG_KINDS)
async def test_a_flood_of_one_kind_pushes_out_no_other(
    folds: Folds, redis: Redis, customer: int, kind: str
) -> None:  # fmt: skip
    one = [flagged(f"{other}", other, NOW - 29 * DAY) for other in FLAG_KINDS]
    flood = [flagged(f"{n}", kind, NOW - n) for n in range(300)]  # type: ignore[arg-type]  # one of FLAG_KINDS
    await folds(customer, *one)
    await folds(customer, *flood)
    await agree(redis, customer, fold({}, [*one, *flood]))


async def test_a_day_of_4096_calls_is_an_intset(folds: Folds, redis: Redis, customer: int) -> None:
    calls = [placed(str(n), TODAY * DAY_MS + n * 20_000) for n in range(4096)]
    await folds(customer, *calls)
    key = keys.seen(customer, 18, TODAY)
    assert (await redis.scard(key), await redis.object("ENCODING", key)) == (4096, b"intset")


async def test_a_batch_may_hold_any_number_of_calls_of_one_caller_id(
    folds: Folds, redis: Redis, customer: int
) -> None:  # fmt: skip
    await folds(customer, *[placed(str(n), TODAY * DAY_MS) for n in range(10_000)])
    assert sum(await counters(redis, keys.calls(customer, 18, TODAY))) == 10_000


async def test_a_caller_id_with_200_calls_and_3_flags_takes_3_kib_at_most(
    folds: Folds, redis: Redis, customer: int
) -> None:
    async def memory() -> int:
        own = [name for name in await names(redis) if ":18" in name]
        return sum([await redis.memory_usage(name, samples=0) or 0 for name in own])

    def of_ten_hours(first: int, last: int) -> list[Event]:
        return [placed(str(n), TODAY * DAY_MS + HOUR + n * 10 * HOUR // 2000) for n in range(first, last)]

    await folds(customer, *of_ten_hours(0, 200), *[flagged(f"f{n}", "blocked", NOW) for n in range(3)])
    at_200 = await memory()
    assert at_200 <= 3 * 1024
    await folds(customer, *of_ten_hours(200, 2000))
    assert (await memory() - at_200) / 1800 <= 10


async def test_keys_outlive_the_windows_in_which_their_events_may_arrive(
    folds: Folds, redis: Redis, customer: int
) -> None:
    yesterday = NOW - DAY
    await folds(customer, placed("1", yesterday), flagged("2", "blocked", NOW), placed("3", yesterday))
    assert await redis.expiretime(keys.seen(customer, 18, TODAY - 1)) == (TODAY + 3) * 86_400, (
        "three days after the day"
    )
    assert await redis.expiretime(keys.calls(customer, 18, TODAY - 1)) == (TODAY + COUNTERS_KEPT_DAYS) * 86_400
    kept = FLAGS_KEPT_DAYS * 86_400
    assert kept - 60 <= await redis.ttl(keys.flags(customer, 18)) <= kept
    assert await redis.ttl(keys.position(keys.bucket_of(customer))) == -1


async def test_a_call_that_is_folded_days_late_counts_once_too(folds: Folds, redis: Redis, customer: int) -> None:
    """A consumer that was down reads what arrived three days ago, and was two days late then."""
    old = (TODAY - 5) * DAY_MS  # both calls are on this day, whatever the time is now
    for _ in range(2):
        await folds(customer, placed("1", old), placed("2", old + HOUR))
        await folds(customer, placed("1", old))
    assert sum(await counters(redis, keys.calls(customer, 18, old // DAY_MS))) == 2
    assert 0 < await redis.ttl(keys.seen(customer, 18, old // DAY_MS)) <= 86_400


async def test_every_clear_is_kept_and_the_newest_64_of_very_many(folds: Folds, redis: Redis, customer: int) -> None:
    times = [NOW - n * MINUTE for n in range(MAX_CLEARS + 10)]
    Random(2).shuffle(times)
    for at in range(0, len(times), 20):
        await folds(customer, *[cleared(str(at_ms), at_ms) for at_ms in times[at : at + 20]], flagged("1", "blocked"))
        value = await redis.get(keys.flags(customer, 18))
        assert isinstance(value, bytes)
        expected = fold({}, [cleared(str(at_ms), at_ms) for at_ms in times[: at + 20]])[18]
        assert decode_past_flags(value)[1] == expected.clears
        assert decode_flags(value)[1] == expected.cleared_at_ms


async def test_a_duplicate_moves_no_expiry(folds: Folds, redis: Redis, customer: int) -> None:
    await folds(customer, placed("1", NOW), flagged("2", "blocked", NOW))
    own = (keys.calls(customer, 18, TODAY), keys.seen(customer, 18, TODAY), keys.flags(customer, 18))
    before = [await redis.pexpiretime(name) for name in own]
    await folds(customer, placed("1", NOW), flagged("2", "blocked", NOW))
    assert [await redis.pexpiretime(name) for name in own] == before


# Changes


async def test_one_message_a_call_tells_everything_that_changed(folds: Folds, redis: Redis, customer: int) -> None:
    quarter = NOW // QUARTER_MS % QUARTERS_A_DAY
    await folds(customer, placed("0", NOW))
    async with heard(redis) as changes:
        calls = [placed("1", NOW), placed("2", NOW), placed("3", NOW - 2 * DAY), placed("0", NOW)]
        await folds(customer, *calls, flagged("4", "blocked", NOW, MAX_ID), cleared("5", NOW, 7))
        documents = [await redis.get(keys.flags(customer, caller)) for caller in (MAX_ID, 7)]
        [(kind, [(of, counts, flags)])] = await changes.facts()
    assert (kind, of) == ("facts", str(customer))
    assert counts == [("18", TODAY, [quarter, 3]), ("18", TODAY - 2, [quarter, 1])]
    assert [caller for caller, _ in flags] == [str(MAX_ID), "7"]
    for (_, told), document in zip(flags, documents, strict=True):
        assert isinstance(document, bytes)
        assert bytes(told).endswith(document), "within Lua's one type for text and bytes"


async def test_nothing_is_told_where_nothing_changed(folds: Folds, redis: Redis, customer: int) -> None:
    events: list[Event] = [placed("1", NOW), flagged("2", "blocked", NOW), cleared("3", NOW)]
    await folds(customer, *events)
    async with heard(redis) as changes:
        await folds(customer, *events, *events)
        await folds(customer, cleared("4", NOW))
        assert await changes.facts() == []


# A server that is not as it should be


async def test_missing_functions_are_said_to_be_missing_and_folding_goes_on_once_they_are_loaded(
    folds: Folds, redis: Redis, customer: int
) -> None:
    await redis.function_flush()
    with pytest.raises(FunctionsMissingError):
        await folds(customer, placed("1", NOW))
    await load_functions(redis)
    folds.ends.clear()
    await folds(customer, placed("1", NOW))
    assert sum(await counters(redis, keys.calls(customer, 18, TODAY))) == 1


async def test_a_server_out_of_memory_folds_nothing_and_is_waited_for(
    folds: Folds, redis: Redis, customer: int
) -> None:
    await folds(customer, placed("1", NOW))
    before = dict(folds.ends)
    await redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(UnavailableError):
            await folds(customer, placed("2", NOW))
    finally:
        await redis.config_set("maxmemory", 0)
    assert sum(await counters(redis, keys.calls(customer, 18, TODAY))) == 1
    folds.ends = before
    await folds(customer, placed("2", NOW))
    assert sum(await counters(redis, keys.calls(customer, 18, TODAY))) == 2
