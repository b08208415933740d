"""When people are called: the shape of a telesales day in local time."""

from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

_BY_HOUR = (
    *(0.02, 0.01, 0.01, 0.01, 0.01, 0.02, 0.05, 0.20),
    *(0.60, 0.95, 1.00, 0.85, 0.35, 0.55, 0.90, 1.00),
    *(0.95, 0.75, 0.50, 0.40, 0.25, 0.12, 0.05, 0.03),
)
"""Calls in each hour from midnight, as a share of the busiest: two peaks and a lunch break."""


def busyness(local: datetime) -> float:
    """How busy dialers are at a local time, 0 to 1; between the middles of two hours on a straight line."""
    hours = local.hour + local.minute / 60 - 0.5
    before = int(hours // 1)
    share = hours - before
    return _BY_HOUR[before % 24] * (1 - share) + _BY_HOUR[(before + 1) % 24] * share


def tempo(local: datetime) -> float:
    """The same for a demo, which somebody may watch at night: never below one half."""
    return 0.5 + 0.5 * busyness(local)


def moments_today(count: int, zone: ZoneInfo, now: datetime, chance: Random) -> list[datetime]:
    """`count` moments between the zone's midnight and `now`, spread as a working day is; aware, UTC, unsorted.

    They are as many at any hour: of a day that has only begun all of it lies close together.
    """
    midnight = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)
    minutes = [midnight + timedelta(minutes=n) for n in range(int((now - midnight).total_seconds() // 60) + 1)]
    drawn = chance.choices(minutes, [busyness(minute.astimezone(zone)) for minute in minutes], k=count)
    return [minute + (min(minute + timedelta(minutes=1), now) - minute) * chance.random() for minute in drawn]
