"""When a delivery that failed is attempted again."""

from datetime import datetime, timedelta

RETRY_SECONDS = (5, 30, 120, 600, 1_800, 3_600, 7_200)
"""Between an attempt and the next; the last one repeats. Each is a queue on the broker, where messages wait."""
GIVE_UP_AFTER = timedelta(hours=24)


def retry_seconds(attempts: int, created_at: datetime, now: datetime) -> int | None:
    """How long to wait after so many attempts, at least one; None once the next would be later than 24 h."""
    seconds = RETRY_SECONDS[min(attempts, len(RETRY_SECONDS)) - 1]
    return seconds if now + timedelta(seconds=seconds) <= created_at + GIVE_UP_AFTER else None
