"""A customer whose days are rolled up, as tests of history set it up."""

from collections.abc import Sequence
from datetime import timedelta

from histories import DAY
from integration.consuming import Installation, now_ms
from integration.past import Rows, figured, recorded
from integration.private_database import opened
from rotary.domain.history import Day, day_of
from rotary.domain.quota import local_date
from rotary.events import Event
from rotary.postgres import history
from rotary.postgres.history import Customer
from rotary.redis.facts import COUNTERS_KEPT_DAYS
from rotary.redis.past import PastReader
from rotary_consumer.history.sweep import sweep
from running import until

CUSTOMER = 7
ZONE = "Asia/Kolkata"
CALLERS = range(18, 48)
SECONDS = 30


def last_days(count: int, zone: str = ZONE) -> list[Day]:
    """The last finished days, ascending."""
    today = local_date(zone, now_ms())
    return [day_of(zone, today - timedelta(days=ago)) for ago in range(count, 0, -1)]


async def published(installed: Installation, events: Sequence[Event]) -> None:
    await installed.caught_up()
    for kind in {type(event) for event in events}:
        await installed.publish(CUSTOMER, *(one for one in events if type(one) is kind), batched=True)


async def rolled_up(installed: Installation, expected: Rows) -> None:
    """Returns once exactly these rows are on record, of days that are complete."""

    async def is_so() -> bool:
        days = await history.read_days(installed.postgres, CUSTOMER)
        complete = {one.day.date for one in days if all(one.knew)}
        rows = await recorded(installed.postgres, CUSTOMER)
        return {key[1] for key in expected} <= complete and rows == expected

    try:
        await until(is_so, SECONDS, "the days are rolled up")
    except AssertionError:
        assert await recorded(installed.postgres, CUSTOMER) == expected
        raise


async def swept(installed: Installation, zone: str = ZONE, offset_ms: int = 0) -> None:
    """One sweep, from this process, on a connection of its own."""
    async with opened(installed.servers.postgres_url) as connection:
        await sweep(connection, PastReader(installed.redis, offset_ms), Customer(CUSTOMER, zone, None))


def of_known_days(events: Sequence[Event], zone: str = ZONE) -> Rows:
    """The rows of the days that a first roll-up finds: as far back as counters, which are of UTC days, are kept."""
    since_ms = (now_ms() // DAY - COUNTERS_KEPT_DAYS) * DAY
    known = [day for day in last_days(COUNTERS_KEPT_DAYS + 1, zone) if day.begin_ms >= since_ms]
    return figured(events, known, CALLERS)
