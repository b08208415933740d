"""Positions: how far each log is folded into each bucket, and whether readers may believe what they read.

A consumer continues from the stored position, always: after a restart, after Redis lost data, beside another consumer.
A reader reads `read` in one step with the facts; it is three times of Redis' own clock, see `BucketStatus`.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from redis.asyncio import Redis

from rotary.redis import keys
from rotary.redis.connection import raise_if_unavailable, translate_errors
from rotary.redis.pipeline import TIME, Argument, Pipeline, pack, time_ms

CURRENT_MS = 2_000
"""Facts that were complete so lately are current."""
RECOVERY_LIMIT_MS = 10_000
"""Facts that went back are shown, with their age, while they are no older than this."""
FIELD = "read"
"""The field of a position that a reader reads."""

REBUILDING = "The projections are being rebuilt"
"""Why facts that nothing is known of are not shown, in a reader's words."""
_GAP = "The event log lost events; the operator has been told"


class BucketStatus(NamedTuple):
    """What a bucket says of itself, in milliseconds of Redis' clock.

    `complete_ms`: everything that the broker confirmed before this moment is in the facts; 0 is nothing known.
    `back_ms`: since when a consumer goes on from an earlier position, as after a restored snapshot; 0 is not.
    `gap_ms`: until when events that the log lost would matter; 0 is never.
    """

    complete_ms: int
    back_ms: int
    gap_ms: int

    def age_ms(self, now_ms: int) -> int:
        """How old the facts are, by Redis' clock. A clock that went back counts as age: what it said is not known."""
        return abs(now_ms - self.complete_ms)

    def refusal(self, now_ms: int) -> str | None:
        """Why a reader must not be shown the facts, in its words; None when it may."""
        if self.gap_ms > now_ms:
            return _GAP  # first, because waiting mends the others
        if not self.complete_ms:
            return REBUILDING
        if self.back_ms and self.age_ms(now_ms) > RECOVERY_LIMIT_MS:
            return REBUILDING
        return None


UNKNOWN = BucketStatus(0, 0, 0)


def decode_bucket_status(read: bytes | None) -> BucketStatus:
    """The field `read` of a position as stored; a bucket that has none knows nothing."""
    return BucketStatus(*map(int, read.split(b" "))) if read else UNKNOWN


@lru_cache(maxsize=4 * keys.BUCKETS)
def pack_bucket_status(bucket: int, generation: int) -> tuple[bytes, bytes]:
    """What asks for a bucket's bucket_status in a generation, and for the generation that readers read (nil for 0)."""
    return pack("HGET", keys.position(bucket, generation), FIELD), pack("GET", keys.generation(bucket))


class LogPosition(NamedTuple):
    """How far a log is folded into a bucket: the next offset (None: nothing yet), and the arrival marker in force."""

    next: int | None
    marker_ms: int


_NOTHING = LogPosition(None, 0)


def decode_position(stored: bytes | None) -> LogPosition:
    """The field of one log."""
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
        """One log's position in every bucket."""
        replies = await self._call([pack("HGET", self._key(bucket), log) for bucket in range(keys.BUCKETS)])
        return [decode_position(reply) for reply in replies]  # type: ignore[arg-type]  # HGET answers bytes or nil

    async def now_ms(self) -> int:
        """Redis' clock."""
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
    ) -> Advance:
        """Says that every bucket holds all of `log` before `to`, which follows an arrival marker of `marker_ms`.

        `continued` has for each bucket the offset that it has reached if all that was sent has arrived, None for the
        log's beginning. `acknowledged` has the offset up to which Redis answered that it is folded: a bucket that is
        before it has lost data. Without it, all that was sent has been answered.
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
                )
            ]
        )
        assert isinstance(failed, list)
        return Advance(
            tuple(number - 1 for number in failed if number > 0),
            tuple(-number - 1 for number in failed if number < 0),
            0 in failed,
        )

    async def gap(self, buckets: Sequence[int], log: str, to: int | None, logs: Sequence[str], until_ms: int) -> None:
        """The log lacks what lies before `to`: closes these buckets until `until_ms`, and goes on from there.

        With None they are closed where they are.
        """
        if buckets:
            begin = "" if to is None else to
            await self._call([self._function("gap_1", buckets, log, begin, 0, ",".join(logs), until_ms)])

    async def accept_gap(self, log: str, until_ms: int) -> tuple[int, int]:
        """Opens the buckets that a gap in this log closes until `until_ms` at the latest. Returns how many, and until
        when those that are left are closed, 0 if none is."""
        [reply] = await self._call([self._function("accept_gap_1", range(keys.BUCKETS), log, until_ms)])
        assert isinstance(reply, list)
        accepted, left_ms = reply
        return accepted, left_ms

    async def forget(self, log: str) -> None:
        """Takes a log off the list of those that must be read."""
        await self._call([self._function("forget_1", range(keys.BUCKETS), log)])

    async def bucket_statuses(self) -> list[BucketStatus]:
        """What every bucket says of itself."""
        replies = await self._call([pack_bucket_status(bucket, self.generation)[0] for bucket in range(keys.BUCKETS)])
        return [decode_bucket_status(reply) for reply in replies]  # type: ignore[arg-type]  # HGET answers bytes or nil

    async def logs(self) -> list[str]:
        """The logs that any bucket's position names, ascending."""
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
    """Has readers of a bucket read `generation` from here on; False while that is not complete.

    With `exact`, only when it is nowhere behind the generation that it replaces.
    """
    with translate_errors():
        return bool(await client.fcall("switch_1", 1, keys.generation(bucket), generation, int(exact)))


async def lease(client: Redis, consumer: str, ttl_ms: int, units: Sequence[str]) -> list[str]:
    """This consumer's fair share of `units` for `ttl_ms`; with 0 it leaves."""
    with translate_errors():
        held = await client.fcall("share_1", 1, keys.LEASES, consumer, ttl_ms, *units)
    return [unit.decode() for unit in held]
