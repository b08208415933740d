"""What one message, and one customer's unknown caller IDs, may ask of the fold function on a real server."""

import pytest
from redis.asyncio import Redis

from histories import DAY, MINUTE, cleared, flagged, placed
from integration.folding import NOW, TODAY, Folds, counters
from integration.private_redis import customers, heard, names
from rotary.events import FLAG_KINDS, MAX_BATCH_EVENTS, Event
from rotary.redis import keys
from rotary.redis.fold import Folded
from written import Documents

pytestmark = pytest.mark.asyncio(loop_scope="function")

MINIMUM_CALLS = 3
"""For a thousand caller IDs, each with as much stored as is kept."""


# Unknown caller IDs


async def define(redis: Redis, customer: int, allowance: int | None, *callers: int) -> None:
    """The definitions are complete, and this customer has these caller IDs and this allowance."""
    await Documents(redis).complete()
    if allowance is not None:
        await redis.hset(keys.customer(customer), "allowance", str(allowance))
    if callers:
        await redis.sadd(keys.callers(customer), *callers)


async def with_facts(redis: Redis, customer: int) -> set[int]:
    """The caller IDs that have facts."""
    own = [name.removeprefix(keys.facts_prefix(customer)) for name in await names(redis)]
    found = [name.split(":") for name in own]
    return {int(parts[1]) for parts in found if parts[0] in ("calls", "seen", "flags")}


async def test_exactly_the_allowance_of_unknown_caller_ids_gets_facts_in_a_day(
    folds: Folds, redis: Redis, customer: int
) -> None:
    await define(redis, customer, 5, 1, 2)
    first = await folds(customer, *[placed(f"{caller}", NOW, caller) for caller in range(1, 7)])
    assert (first.admitted, first.refused) == (4, ())
    second = await folds(
        customer,
        placed("a", NOW, 1),
        flagged("b", "blocked", NOW, 7),
        flagged("c", "blocked", NOW, 8),
        placed("d", NOW, 9),
        placed("e", NOW, 3),
        cleared("f", NOW, 10),
    )
    assert second.admitted == 1
    admitted = await with_facts(redis, customer)
    assert len(admitted - {1, 2}) == 5
    assert {caller for _, caller in second.refused} == {7, 8, 9, 10} - admitted
    assert {of for of, _ in second.refused} == {customer}


async def test_an_unknown_caller_id_that_was_admitted_goes_on_all_day(
    folds: Folds, redis: Redis, customer: int
) -> None:  # fmt: skip
    await define(redis, customer, 1)
    await folds(customer, placed("1", NOW, 99))
    again = await folds(customer, placed("2", NOW, 99), placed("3", NOW - DAY, 99), flagged("4", "blocked", NOW, 99))
    assert again == Folded()


async def test_the_allowance_is_a_days_by_the_logs_markers(folds: Folds, redis: Redis, customer: int) -> None:
    await define(redis, customer, 1)
    for day in range(3):
        folded = await folds(
            customer, *[placed(f"{day}-{n}", NOW, 10 * day + n) for n in (1, 2)], marker_ms=NOW + day * DAY
        )
        assert (folded.admitted, len(folded.refused)) == (1, 1)


async def test_the_default_allowance_is_a_thousand(folds: Folds, redis: Redis, customer: int) -> None:
    await define(redis, customer, None)
    folded = await folds(customer, *[placed(f"{caller}", NOW, caller) for caller in range(1, 1011)])
    assert (folded.admitted, len(folded.refused)) == (1000, 10)
    assert len(await with_facts(redis, customer)) == 1000


async def test_nobody_is_unknown_while_the_definitions_are_not_complete(
    folds: Folds, redis: Redis, customer: int
) -> None:
    await redis.hset(keys.customer(customer), "allowance", "0")
    assert await folds(customer, placed("1", NOW, 99), flagged("2", "blocked", NOW, 98)) == Folded()
    await Documents(redis).complete()
    assert (await folds(customer, placed("3", NOW, 97))).refused == ((customer, 97),)


async def test_what_was_refused_leaves_nothing_behind_and_is_folded_once_its_caller_id_is_known(
    folds: Folds, redis: Redis, customer: int
) -> None:
    await define(redis, customer, 0)
    events: list[Event] = [placed("1", NOW, 99), placed("2", NOW, 99), flagged("3", "blocked", NOW, 99)]
    async with heard(redis) as changes:
        refused = await folds(customer, *events)
        assert await changes.facts() == []
    assert set(refused.refused) == {(customer, 99)}
    assert await with_facts(redis, customer) == set()
    await define(redis, customer, 0, 99)
    assert await folds(customer, *events) == Folded()
    assert sum(await counters(redis, keys.calls(customer, 99, TODAY))) == 2


async def test_one_customers_unknown_caller_ids_are_nobody_elses(folds: Folds, redis: Redis) -> None:
    one = next(customers)
    other = next(n for n in range(10_000_000, 10_001_000) if keys.bucket_of(n) == keys.bucket_of(one))
    await define(redis, one, 0)
    folded = await folds.all([(one, placed("1", NOW, 99)), (other, placed("1", NOW, 99))])
    assert folded[keys.bucket_of(one)] == Folded(((one, 99),), 1)


# Bounded work


def worst(customer: int) -> dict[str, list[tuple[int, Event]]]:
    """The legal messages that ask most of a call."""
    many = range(MAX_BATCH_EVENTS)
    kinds = [FLAG_KINDS[n % 4] for n in many]
    return {
        "calls of one caller ID": [(customer, placed(f"{n}", NOW)) for n in many],
        "calls of as many caller IDs": [(customer, placed(f"{n}", NOW, n + 1)) for n in many],
        "calls in every quarter hour": [(customer, placed(f"{n}", NOW - n % 190 * 15 * MINUTE)) for n in many],
        "flags of one caller ID": [(customer, flagged(f"{n}", kinds[n], NOW - n)) for n in many],
        "flags of as many caller IDs": [(customer, flagged(f"{n}", kinds[n], NOW - n, n + 1)) for n in many],
        "clears of as many caller IDs": [(customer, cleared(f"{n}", NOW - n, n + 1)) for n in many],
    }


async def fill(folds: Folds, redis: Redis, customer: int, callers: set[int]) -> None:
    """Gives each of these caller IDs all the flags that are kept: one's are folded, the others' are copies."""
    first, *others = sorted(callers)
    await folds(customer, *[flagged(f"{n}", FLAG_KINDS[n % 4], NOW - DAY - n, first) for n in range(256)])
    folded = keys.flags(customer, first)
    document, expiry = await redis.dump(folded), await redis.pexpiretime(folded)
    assert isinstance(document, bytes)
    pipeline = redis.pipeline(transaction=False)
    for other in others:
        pipeline.restore(keys.flags(customer, other), expiry, document, absttl=True)
    await pipeline.execute()


@pytest.mark.parametrize("full", [False, True], ids=["empty", "full"])
@pytest.mark.parametrize("shape", worst(1))
async def test_what_a_batch_asks_is_cut_into_calls_of_bounded_work(
    folds: Folds, redis: Redis, customer: int, shape: str, full: bool
) -> None:
    """Also where every caller ID has all the flags that are kept, and when all are unknown."""
    events = worst(customer)[shape]
    if full:
        await fill(folds, redis, customer, {event.data.caller_id_id for _, event in events})
        await define(redis, customer, 1000)
    await redis.config_set("slowlog-max-len", 100_000)  # what a function calls is logged too
    await redis.slowlog_reset()
    await redis.config_set("slowlog-log-slower-than", 0)
    try:
        await folds.all(events)
        calls = [one for one in await redis.slowlog_get(100_000) if one["command"].startswith(b"FCALL fold_1")]
    finally:
        await redis.config_set("slowlog-log-slower-than", 10_000)
        await redis.config_set("slowlog-max-len", 128)
    slowest = max(entry["duration"] for entry in calls)
    print(f"{shape}, {'full' if full else 'empty'}: {len(calls)} calls, the slowest {slowest} µs")
    assert len(calls) >= (MINIMUM_CALLS if full and "as many" in shape else 1)
