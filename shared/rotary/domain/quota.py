"""How many calls a caller ID has placed in its customer's current calendar day."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from rotary.domain.facts import DAY_MS, QUARTER_MS, QUARTERS_A_DAY, DayCounts


def calls_today(counts: DayCounts, timezone: str, now_ms: int) -> int:
    """Calls whose event time falls in the current day of the IANA `timezone`; never clamped to a cap."""
    begin, end = today(timezone, now_ms // QUARTER_MS)
    return calls_between(counts, begin, end)


@lru_cache(maxsize=4096)
def today(timezone: str, quarter: int) -> tuple[int, int]:
    """The calendar day around a quarter hour, as quarter hours since 1970: the first one in it, the first after it.

    Exact in every zone in civil use, all of whose offsets are multiples of 15 minutes. A midnight that a clock change
    skips begins at the change; one that it repeats begins at the first of the two.
    """
    zone = ZoneInfo(timezone)
    midnight = datetime.fromtimestamp(quarter * QUARTER_MS // 1000, zone).replace(hour=0, minute=0, second=0, fold=0)
    following = (midnight.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=zone)
    return _quarter(midnight), _quarter(following)


def calls_between(counts: DayCounts, begin: int, end: int) -> int:
    """Calls in the quarter hours begin ≤ q < end, both counted since 1970."""
    total = 0
    for day, quarters in counts.items():
        first = day * QUARTERS_A_DAY
        if begin - QUARTERS_A_DAY < first < end:
            total += sum(quarters[max(begin - first, 0) : end - first])
    return total


def days_read(now_ms: int) -> range:
    """The UTC days whose counts any zone's reader needs now.

    A local day and the last 24 hours reach back to yesterday at the furthest, and event times may be five minutes
    ahead of the clock, hence tomorrow.
    """
    day = now_ms // DAY_MS
    return range(day - 1, day + 2)


def _quarter(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp()) * 1000 // QUARTER_MS
