"""The calendar day of a customer, in quarter hours of UTC."""

from datetime import date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from rotary.domain.facts import DAY_MS, QUARTER_MS


@lru_cache(maxsize=4096)
def today(timezone: str, quarter: int) -> tuple[int, int]:
    """The calendar day that contains a quarter hour, as (first, after the last) quarter hour since 1970."""
    return calendar_day(timezone, local_date(timezone, quarter * QUARTER_MS))


def local_date(timezone: str, at_ms: int) -> date:
    """The date in a zone at a UTC millisecond."""
    return datetime.fromtimestamp(at_ms / 1000, ZoneInfo(timezone)).date()


def calendar_day(timezone: str, of: date) -> tuple[int, int]:
    """A calendar day as (first, after the last) quarter hour since 1970.

    It is exact in every zone in civil use, because all offsets are multiples of 15 minutes. If a clock change skips
    midnight, the day begins at the change. If it repeats midnight, the day begins at the first of the two. A date that
    a zone skipped is empty.
    """
    zone = ZoneInfo(timezone)
    midnight = datetime(of.year, of.month, of.day, tzinfo=zone)
    following = (midnight.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=zone)
    return _quarter(midnight), _quarter(following)


def days_read(now_ms: int) -> range:
    """The UTC days whose counts a monitor needs, in any time zone: yesterday, today and tomorrow.

    The local day and the last 24 hours begin yesterday at the earliest. Event times may be five minutes ahead of the
    clock, which reaches tomorrow.
    """
    day = now_ms // DAY_MS
    return range(day - 1, day + 2)


def _quarter(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000 // QUARTER_MS
