"""How calls spread over a telesales day in local time."""

from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

_BY_HOUR = (
    *(0.02, 0.01, 0.01, 0.01, 0.01, 0.02, 0.05, 0.20),
    *(0.60, 0.95, 1.00, 0.85, 0.35, 0.55, 0.90, 1.00),
    *(0.95, 0.75, 0.50, 0.40, 0.25, 0.12, 0.05, 0.03),
)
"""Calls in each hour from midnight, relative to the busiest hour: two peaks and a lunch break."""


def busyness(local: datetime) -> float:
    """How busy dialers are at a local time, from 0 to 1. Interpolates linearly between the middles of two hours."""
    hours = local.hour + local.minute / 60 - 0.5
    before = int(hours // 1)
    share = hours - before
    return _BY_HOUR[before % 24] * (1 - share) + _BY_HOUR[(before + 1) % 24] * share


def demo_pace(local: datetime) -> float:
    """The same for the demo, at least one half, so that it shows something at night."""
    return 0.5 + 0.5 * busyness(local)


def call_times_today(count: int, zone: ZoneInfo, now: datetime, rng: Random) -> list[datetime]:
    """`count` times between the zone's midnight and `now`, spread over the working day; in UTC, unsorted.

    The count does not depend on the hour: shortly after midnight all calls lie close together.
    """
    midnight = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)
    minutes = [midnight + timedelta(minutes=n) for n in range(int((now - midnight).total_seconds() // 60) + 1)]
    drawn = rng.choices(minutes, [busyness(minute.astimezone(zone)) for minute in minutes], k=count)
    return [minute + (min(minute + timedelta(minutes=1), now) - minute) * rng.random() for minute in drawn]
