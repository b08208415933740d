"""Fills the demo's history: the days before those that events can still be published about.

A call may be 48 hours late, so backfill.py publishes yesterday's. Older days are written into the history tables
themselves, as final, from made-up calls and flags by the same functions that roll up real ones. The consumer goes on
from the day after them.
"""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from random import Random

from msgspec import Struct

from rotary.domain.facts import DAY_MS, QUARTER_MS, QUARTERS_A_DAY, Flag, pack_counts
from rotary.domain.history import HISTORY_DAYS, NOTHING, Day, Figures, Known, PastFacts, day_of, figures
from rotary.domain.quota import local_date
from rotary.events import FLAG_KINDS
from rotary.policy import Policy
from rotary.postgres import history, store
from rotary.postgres.connection import Connection
from rotary.postgres.history import DayProgress, Key

_EVERYTHING = Known(calls=True, flags=True, resting=True, health=True)
_BY_WEEKDAY = (0.9, 1.0, 1.0, 0.95, 0.85, 0.45, 0.1)
"""How busy each day of the week is, from Monday on."""
_FLAG_WEIGHTS = (5, 1, 4, 6)
"""How often each of FLAG_KINDS comes."""
MOST_CALLS = 700


class PastCaller(Struct, frozen=True):
    """A caller ID as the demo makes up its past."""

    id: int
    daily_cap: int
    is_active: bool


async def write_past_days(connection: Connection, customer: int, timezone: str, now_ms: int, rng: Random) -> None:
    """Puts a customer's days up to the one before yesterday on record. Its caller IDs must be there."""
    days = past_days(timezone, now_ms)
    policy = await store.read_policy(connection, customer)
    assert policy is not None
    rows = await connection.fetch(
        "SELECT id, daily_cap, status = 'active' AS is_active FROM caller_ids WHERE customer_id = $1", customer
    )
    callers = [PastCaller(*row) for row in rows]
    await history.begin_sweep(connection, customer, days)
    await history.write_figures(connection, customer, 0, made_up(callers, days, policy, rng), [])
    done = [DayProgress(day.date, _EVERYTHING, calls_final=True, final=True) for day in days]
    await history.finish_sweep(connection, customer, 0, 0, done)


def past_days(timezone: str, now_ms: int) -> list[Day]:
    """The days of a full history but for yesterday, ascending."""
    today = local_date(timezone, now_ms)
    return [day_of(timezone, today - timedelta(days=ago)) for ago in range(HISTORY_DAYS, 1, -1)]


def made_up(callers: Iterable[PastCaller], days: list[Day], policy: Policy, rng: Random) -> dict[Key, Figures]:
    """Plausible figures of these days. A number that is used a lot is flagged now and then."""
    rows: dict[Key, Figures] = {}
    for caller in callers:
        used = rng.uniform(0.35, 0.9)
        flags = tuple(sorted(_flags(days, used if caller.is_active else 0.2, rng)))
        for day in days:
            calls = _calls(caller, day, used, rng)
            found = figures(day, PastFacts(_at_ten(day, calls), flags), policy, _EVERYTHING)
            if found != NOTHING:
                rows[caller.id, day.date] = found
    return rows


def _calls(caller: PastCaller, day: Day, used: float, rng: Random) -> int:
    if not caller.is_active:
        return 0
    busy = used * _BY_WEEKDAY[day.date.weekday()] * rng.uniform(0.8, 1.15)
    return round(min(caller.daily_cap, MOST_CALLS) * min(busy, 1.0))


def _flags(days: list[Day], used: float, rng: Random) -> Iterator[Flag]:
    for day in days:
        if rng.random() < 0.12 * used:
            at_ms = day.begin_ms + rng.randrange(9 * 4, 18 * 4) * QUARTER_MS
            yield Flag(at_ms, rng.getrandbits(60), rng.choices(FLAG_KINDS, _FLAG_WEIGHTS)[0])


def _at_ten(day: Day, calls: int) -> dict[int, bytes]:
    """All calls in one quarter hour: a day's figures do not tell when it was."""
    quarter = (day.begin_ms + 10 * 4 * QUARTER_MS) // QUARTER_MS
    counts = [0] * QUARTERS_A_DAY
    counts[quarter % QUARTERS_A_DAY] = calls
    return {quarter * QUARTER_MS // DAY_MS: pack_counts(counts)}
