"""The bytes of server-sent events that do not depend on their reader: the head, comments, snapshots, `stale`."""

from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from rotary.http.responses import CachedResponse, ResponseTemplate
from rotary.redis.positions import CURRENT_MS

HEAD = ResponseTemplate(
    200,
    {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store", "X-Accel-Buffering": "no"},
).head
COMMENT = b":\n\n"
BEHIND = "The counts are behind the event broker"
AWAY = "Redis is away"


class Stale(NamedTuple):
    """Why what a stream shows is not current, and since when; `event` says so to readers."""

    reason: str
    event: bytes


def stale(reason: str, since_ms: int, lag_seconds: int | None) -> Stale:
    """Facts are complete up to `since_ms`, UTC milliseconds."""
    since = datetime.fromtimestamp(since_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    data = {"since": since, "reason": reason} | ({} if lag_seconds is None else {"lag_seconds": lag_seconds})
    return Stale(reason, b"event: stale\ndata: %b\n\n" % msgspec.json.encode(data))


def behind(age_ms: int, now_ms: int) -> Stale | None:
    """What to say of facts so old; None if they are current."""
    return stale(BEHIND, now_ms - age_ms, age_ms // 1000) if age_ms >= CURRENT_MS else None


def snapshot(answer: CachedResponse) -> bytes:
    """The event that carries an answer's body; its id is the ETag."""
    return b"event: snapshot\nid: %b\ndata: %b\n\n" % (answer.etag.encode(), answer.body)
