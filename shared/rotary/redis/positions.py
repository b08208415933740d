"""Positions: how far each log is folded into each bucket, and whether readers may use its facts.

A consumer always continues from the stored position: after a restart, after a loss of data, beside another consumer. A
reader reads the field `read` in one step with the facts. It holds three times of Redis' clock, see `BucketStatus`.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from redis.asyncio import Redis

from rotary.redis import keys
from rotary.redis.connection import raise_if_unavailable, translate_errors
from rotary.redis.pipeline import TIME, Argument, Pipeline, pack, time_ms

CURRENT_MS = 2_000
"""Facts that were complete within this time are current."""
RECOVERY_LIMIT_MS = 10_000
"""After a loss of data, facts up to this age are shown, with their age."""
FIELD = "read"
"""The field of a position for readers."""

REBUILDING = "The projections are being rebuilt"
"""The public message for facts of unknown age."""
_GAP = "The event log lost events; the operator has been told"


class BucketStatus(NamedTuple):
    """The status of a bucket, in milliseconds of Redis' clock.

    `complete_ms`: all events that the broker confirmed before this time are in the facts; 0 is unknown.
    `back_ms`: when a consumer returned to an earlier position, as after a restored snapshot; 0 is never.
    `gap_ms`: until when the events matter that the log lost; 0 is none lost.
    """

    complete_ms: int
    back_ms: int
    gap_ms: int

    def age_ms(self, now_ms: int) -> int:
        """The age of the facts by Redis' clock. A clock that was set back counts as age, too."""
        return abs(now_ms - self.complete_ms)

    def refusal(self, now_ms: int) -> str | None:
        """The public message if readers must not see the facts, else None."""
        if self.gap_ms > now_ms:
            return _GAP  # first, because waiting ends the others
        if not self.complete_ms:
            return REBUILDING
        if self.back_ms and self.age_ms(now_ms) > RECOVERY_LIMIT_MS:
            return REBUILDING
        return None


UNKNOWN = BucketStatus(0, 0, 0)


@lru_cache(maxsize=4 * keys.BUCKETS)
def decode_bucket_status(read: bytes | None) -> BucketStatus:
    """The status in the field `read` of a position; UNKNOWN without the field."""
    return BucketStatus(*map(int, read.split(b" "))) if read else UNKNOWN


@lru_cache(maxsize=4 * keys.BUCKETS)
def pack_bucket_status(bucket: int, generation: int) -> tuple[bytes, bytes]:
    """The commands that read a bucket's status in a generation, and the generation for readers (nil for 0)."""
    return pack("HGET", keys.position(bucket, generation), FIELD), pack("GET", keys.generation(bucket))


class LogPosition(NamedTuple):
    """How far a log is folded into a bucket: the next offset (None: nothing yet), and the last arrival marker."""

    next: int | None
    marker_ms: int


_NOTHING = LogPosition(None, 0)


def decode_position(stored: bytes | None) -> LogPosition:
    """The position in the field of one log."""
    if not stored:
        return _NOTHING
    offset, _, marker_ms = stored.partition(b":")
    return LogPosition(int(offset), int(marker_ms))


class Advance(NamedTuple):
    """Where an advance of many buckets failed, by bucket. `is_ahead`: some lack what was sent and never arrived."""

    behind: tuple[int, ...]
    replaced: tuple[int, ...]
    is_ahead: bool = False


class Positions:
    """Reads and moves the positions of one generation. Every method raises UnavailableError when Redis is away."""

    def __init__(self, pipeline: Pipeline, generation: int = 0) -> None:
        self._pipeline = pipeline
        self.generation = generation

    async def read(self, log: str) -> list[LogPosition]:
        """The position of one log in every bucket."""
        replies = await self._call([pack("HGET", self._key(bucket), log) for bucket in range(keys.BUCKETS)])
        return [decode_position(reply) for reply in replies]  # type: ignore[arg-type]  # HGET answers bytes or nil

    async def now_ms(self) -> int:
        """The time of Redis' clock."""
        [time] = await self._call([TIME])
        return time_ms(time)

    async def advance(
        self,
        log: str,
        to: int,
        marker_ms: int,
        logs: Sequence[str],
        continued: Sequence[int | None],
        acknowledged: Sequence[int | None] | None = None,
        since_ms: int | None = None,
    ) -> Advance:
        """Says that every bucket holds all of `log` before `to`, which follows an arrival marker of `marker_ms`.

        `continued` has for each bucket the offset that it has reached if all that was sent has arrived, None for the
        log's beginning. `acknowledged` has the offset up to which Redis answered that it is folded: a bucket that is
        before it has lost data. Without it, all that was sent has been answered. `since_ms` as in `Span`.
        """
        [failed] = await self._call(
            [
                self._function(
                    "advance_1",
                    range(keys.BUCKETS),
                    log,
                    to,
                    marker_ms,
                    ",".join(logs),
                    *("" if offset is None else offset for offset in (*continued, *(acknowledged or continued))),
                    "" if since_ms is None else since_ms,
                )
            ]
        )
        assert isinstance(failed, list)
        return Advance(
            tuple(number - 1 for number in failed if number > 0),
            tuple(-number - 1 for number in failed if number < 0),
            0 in failed,
        )

    async def claim(self, log: str, buckets: Sequence[int], since_ms: int) -> None:
        """Says of buckets of which it is not known that everything that arrived since then is in their facts."""
        if buckets:
            await self._call([pack("HSETNX", self._key(bucket), f"{log}^", since_ms) for bucket in buckets])

    async def gap(self, buckets: Sequence[int], log: str, to: int | None, logs: Sequence[str], until_ms: int) -> None:
        """Closes these buckets until `until_ms`, because the log lost its events before `to`, and moves them to `to`.

        None leaves the positions as they are.
        """
        if buckets:
            begin = "" if to is None else to
            await self._call([self._function("gap_1", buckets, log, begin, 0, ",".join(logs), until_ms)])

    async def accept_gap(self, log: str, until_ms: int) -> tuple[int, int]:
        """Opens the buckets that a gap in this log closes, if it ends by `until_ms`.

        Returns the number of opened buckets, and the latest end of the remaining gaps, or 0.
        """
        [reply] = await self._call([self._function("accept_gap_1", range(keys.BUCKETS), log, until_ms)])
        assert isinstance(reply, list)
        accepted, left_ms = reply
        return accepted, left_ms

    async def forget(self, log: str) -> None:
        """Removes a log from the list of logs that must be read."""
        await self._call([self._function("forget_1", range(keys.BUCKETS), log)])

    async def bucket_statuses(self) -> list[BucketStatus]:
        """The status of every bucket."""
        replies = await self._call([pack_bucket_status(bucket, self.generation)[0] for bucket in range(keys.BUCKETS)])
        return [decode_bucket_status(reply) for reply in replies]

    async def logs(self) -> list[str]:
        """The logs in the position of any bucket, ascending."""
        replies = await self._call([pack("HGET", self._key(bucket), "logs") for bucket in range(keys.BUCKETS)])
        names = {name for reply in replies if isinstance(reply, bytes) for name in reply.decode().split(",") if name}
        return sorted(names)

    def _key(self, bucket: int) -> str:
        return keys.position(bucket, self.generation)

    def _function(self, name: str, buckets: Sequence[int], *arguments: Argument) -> bytes:
        return pack("FCALL", name, len(buckets), *map(self._key, buckets), *arguments)

    async def _call(self, commands: Sequence[bytes]) -> list[object]:
        replies = await self._pipeline.call(commands)
        for reply in replies:
            raise_if_unavailable(reply)
        return replies


async def switch(client: Redis, bucket: int, generation: int, *, exact: bool) -> bool:
    """Switches the readers of a bucket to `generation`. Returns False while that is not complete.

    With `exact`, it also returns False while that is behind the replaced generation in any log.
    """
    with translate_errors():
        return bool(await client.fcall("switch_1", 1, keys.generation(bucket), generation, int(exact)))


async def lease(client: Redis, consumer: str, ttl_ms: int, units: Sequence[str]) -> list[str]:
    """Leases this consumer's share of `units` for `ttl_ms`, and returns it. 0 ends its leases."""
    with translate_errors():
        held = await client.fcall("share_1", 1, keys.LEASES, consumer, ttl_ms, *units)
    return [unit.decode() for unit in held]
