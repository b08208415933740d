"""The logs there are, and whether each is the one it was.

The record is in Postgres, because Redis may be emptied and a stream may be deleted: either alone is noticed by what the
other holds, both together only by a third. What it says is remembered while Postgres is away; a consumer that starts
then reads the logs that Redis' positions name.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from rotary.domain.acceptance import CALLS_BEHIND_MS, FLAGS_BEHIND_MS
from rotary.errors import UnavailableError
from rotary.postgres import logs as records
from rotary.postgres.connection import Connection, connect
from rotary.postgres.logs import LogRecord
from rotary.rabbitmq import topology
from rotary.rabbitmq.connection import channel, translate_errors
from rotary.rabbitmq.topology import Log
from rotary.redis.pipeline import Pipeline
from rotary.redis.positions import Positions
from rotary.runtime.backoff import Backoff
from rotary_consumer import metrics
from rotary_consumer.publishing import Publishing

logger = logging.getLogger(__name__)

SYNC_SECONDS = 1.0
_FORGET = timedelta(hours=1)
"""For how long every consumer forgets a log that holds nothing that counts before its record goes: one that was paused
meanwhile may name it again."""
_MARGIN = timedelta(hours=2)
_MATTERS = {
    "calls": timedelta(milliseconds=CALLS_BEHIND_MS) + _MARGIN,
    "flags": timedelta(milliseconds=FLAGS_BEHIND_MS) + _MARGIN,
}
"""For how long after its arrival an event of a kind can still be part of an answer."""


class LogGapError(Exception):
    """A log can't give what a position needs. `to` is where it can be read on from."""

    def __init__(self, what: str, to: int, first_message: bytes | None) -> None:
        super().__init__(what)
        self.to = to
        self.first_message = first_message


class Logs:
    """Keeps the record while `run` runs. `generation` is the one that readers read, as last heard."""

    def __init__(self, postgres_url: str, rabbitmq_url: str, pipeline: Pipeline, publishing: Publishing) -> None:
        self._postgres_url = postgres_url
        self._rabbitmq_url = rabbitmq_url
        self._pipeline = pipeline
        self._publishing = publishing
        self._records: dict[str, LogRecord] = {}
        self._first_messages: dict[str, bytes] = {}
        self._gaps: dict[str, tuple[datetime, bytes | None]] = {}
        self._declared_on = -1
        self._clock = (0, 0.0)
        self._wake = asyncio.Event()
        self.is_recorded = False
        self.is_connected = False
        self.generation = 0

    def all(self) -> list[Log]:
        """Every log that is to be read."""
        return [
            Log.parse(name) for name, record in sorted(self._records.items()) if record.created and not _is_over(record)
        ]

    def must_read(self, name: str) -> list[str]:
        """The logs without which a bucket is not complete, and `name` itself: a new one counts once it is read."""
        counting = (record.name for record in self._records.values() if record.state != "new" and not _is_over(record))
        return sorted({name, *counting})

    def saw_redis_clock(self, now_ms: int) -> None:
        """Redis' clock just said this."""
        self._clock = (now_ms, time.monotonic())

    def redis_now_ms(self) -> int:
        """About what Redis' clock says now."""
        at_ms, since = self._clock
        return at_ms + int((time.monotonic() - since) * 1000)

    def check_beginning(self, log: Log, offset: int, fingerprint: bytes) -> None:
        """What a log begins with, when nothing is known of it in Redis. Raises LogGapError when it is another
        one, and UnavailableError while the record can't be asked."""
        if not self.is_recorded:
            raise UnavailableError(f"postgres, whose record of {log.name} is needed")
        known = self._first_messages.get(log.name) or self._record(log).first_message
        if offset:
            return
        if known is None:
            self._first_messages[log.name] = fingerprint
            self._wake.set()
        elif known != fingerprint:
            raise LogGapError("its stream was deleted and made anew", 0, fingerprint)

    def check_age(self, log: Log, oldest_ms: int, offset: int) -> None:
        """A log that begins at `offset` > 0 with what arrived at `oldest_ms`, Redis' clock. Raises LogGapError when
        what was dropped before it would still matter."""
        if self.redis_now_ms() - oldest_ms < _MATTERS[log.kind] / timedelta(milliseconds=1):
            raise LogGapError(f"it begins at {offset}: events that still matter were dropped", offset, None)

    def known_gap_ms(self, log: Log) -> int | None:
        """Until when an earlier gap of this log matters, in milliseconds; None if there is none."""
        until = self._gaps[log.name][0] if log.name in self._gaps else self._record(log).gap_until
        if until is None or until <= datetime.now(UTC):
            return None
        return int(until.timestamp() * 1000)

    async def close_gap(self, log: Log, gap: LogGapError, positions: Positions) -> None:
        """Closes the buckets whose position the log can't serve; goes on behind the gap. Raises UnavailableError."""
        until = datetime.now(UTC) + _MATTERS[log.kind]
        logger.error(
            "%s lost events: %s. The monitors stay closed until  rotary-admin log accept-gap %s  or %s",
            log.name, gap, log.name, until.isoformat(timespec="seconds"),
        )  # fmt: skip
        metrics.LOG_GAPS.labels(log.name).set(1)
        self._gaps[log.name] = (until, gap.first_message)
        self._first_messages.pop(log.name, None)
        self._wake.set()
        stored = await positions.read(log.name)
        concerned = [bucket for bucket, position in enumerate(stored) if _is_unserved(position.next, gap.to)]
        await positions.gap(concerned, log.name, gap.to, self.must_read(log.name), int(until.timestamp() * 1000))

    async def run(self) -> None:
        """Keeps what is known in step with the record, the broker and Redis, until cancelled."""
        backoff = Backoff()
        while True:
            try:
                async with connected(self._postgres_url) as connection:
                    backoff.reset()
                    while True:
                        await self._sync(connection)
                        self.is_connected = True
                        await self._pause()
            except UnavailableError as error:
                self.is_connected = False
                await self._guess()
                await backoff.wait(f"the record of the logs: {error.what}")

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(SYNC_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _guess(self) -> None:
        """What the positions name, for as long as nothing better was ever known."""
        if self._records:
            return
        try:
            named = await Positions(self._pipeline).logs()
        except UnavailableError:
            return
        self._records = {name: LogRecord(name, "active", created=True) for name in named}

    async def _sync(self, connection: Connection) -> None:
        await self._write_notes(connection)
        found = await records.read_logs(connection)
        if not found:
            await records.add_logs(connection, [log.name for log in topology.default_logs()], "active")
            found = await records.read_logs(connection)
        if self._declared_on != self._publishing.connections or any(not record.created for record in found):
            found = await self._declare(connection, found)
        self._records = {record.name: record for record in found}
        self.is_recorded = True
        await self._move_on(connection)

    async def _write_notes(self, connection: Connection) -> None:
        for name, first in list(self._first_messages.items()):
            await records.record_first_message(connection, name, first)
            # Unless a reader found another meanwhile.
            if self._first_messages.get(name) == first:
                del self._first_messages[name]
        for name, gap in list(self._gaps.items()):
            await records.record_gap(connection, name, *gap)
            if self._gaps.get(name) == gap:
                del self._gaps[name]

    async def _declare(self, connection: Connection, found: Sequence[LogRecord]) -> list[LogRecord]:
        """Declares what was never declared. A stream that was, and is gone, is not made anew: that is an operator's."""
        connections = self._publishing.connections
        with translate_errors():
            async with channel(self._rabbitmq_url) as opened:
                await topology.declare_exchanges(opened)
                for record in found:
                    if not record.created:
                        await topology.declare_log(opened, Log.parse(record.name))
                        await records.mark_created(connection, record.name)
            active = [Log.parse(record.name) for record in found if record.state == "active"]
            there = [log for log in active if await self._exists(log)]
            async with channel(self._rabbitmq_url) as opened:
                await topology.route(opened, there)
        self._declared_on = connections
        return await records.read_logs(connection)

    async def _exists(self, log: Log) -> bool:
        async with channel(self._rabbitmq_url) as opened:
            return await topology.exists(opened, log)

    async def _move_on(self, connection: Connection) -> None:
        """What depends on Redis: new logs that are read become active, gaps that were accepted open, and logs that hold
        nothing that counts are forgotten."""
        positions = Positions(self._pipeline, self.generation)
        for record in list(self._records.values()):
            log = Log.parse(record.name)
            if record.state == "new" and all(position.next is not None for position in await positions.read(log.name)):
                await self._activate(connection, log)
            if record.gap_until is None and log.name not in self._gaps:
                await self._accept(connection, record, positions)
            if _is_over(record):
                await positions.forget(log.name)
            if _is_over(record, _FORGET):
                await records.remove_log(connection, log.name)

    async def _accept(self, connection: Connection, record: LogRecord, positions: Positions) -> None:
        """Opens what a gap closed that was accepted; one that the record does not know goes on record: whoever found it
        could not write it down."""
        accepted, left_ms = await positions.accept_gap(record.name, _ms(record.gap_accepted))
        if accepted:
            logger.warning("%s: the gap is accepted, the monitors are open", record.name)
        is_open = left_ms <= self.redis_now_ms()
        if not is_open:
            await records.extend_gap(connection, record.name, datetime.fromtimestamp(left_ms / 1000, UTC))
        metrics.LOG_GAPS.labels(record.name).set(not is_open)

    def _record(self, log: Log) -> LogRecord:
        return self._records.get(log.name) or LogRecord(log.name, "draining", created=True)

    async def _activate(self, connection: Connection, log: Log) -> None:
        active = [Log.parse(name) for name, record in self._records.items() if record.state == "active"]
        with translate_errors():
            async with channel(self._rabbitmq_url) as opened:
                await topology.route(opened, sorted([*active, log]))
        await records.set_state(connection, log.name, "active")
        self._wake.set()


def _is_over(record: LogRecord, longer: timedelta = timedelta()) -> bool:
    """Whether a retired log has held nothing that counts for so long."""
    matters = _MATTERS[Log.parse(record.name).kind]
    return record.retired_at is not None and datetime.now(UTC) - record.retired_at > matters + longer


def _ms(moment: datetime | None) -> int:
    return int(moment.timestamp() * 1000) if moment else 0


def _is_unserved(next_offset: int | None, to: int) -> bool:
    """Whether a log that can be read from `to` on can't serve this position. One that ends before it begins at 0."""
    return next_offset is None or next_offset < to or not to


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """A connection that ends with the block, without a farewell that a hung server would have to answer."""
    connection = await connect(url)
    try:
        yield connection
    finally:
        connection.terminate()
