"""The record of the logs in Postgres: which there are, and how each begins.

Redis may be emptied and a stream may be deleted. Either alone is noticed by what the other holds; both together are
noticed only by a third record. It is remembered while Postgres is away. A consumer that starts then reads the logs that
the positions in Redis name.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

import structlog

from rotary.errors import UnavailableError
from rotary.events import max_age_ms
from rotary.postgres import logs as records
from rotary.postgres.connection import Connection, connect
from rotary.postgres.logs import LogRecord
from rotary.rabbitmq import topology
from rotary.rabbitmq.connection import channel, translate_errors
from rotary.rabbitmq.stream import Delivery
from rotary.rabbitmq.topology import Log
from rotary.redis.pipeline import Pipeline
from rotary.redis.positions import Positions
from rotary.runtime.backoff import Backoff
from rotary_consumer import metrics
from rotary_consumer.broker_channels import BrokerChannels

_log = structlog.get_logger(__name__)

SYNC_SECONDS = 1.0
_FORGET = timedelta(hours=1)
"""How long a retired log that holds nothing relevant is forgotten in Redis before its record is removed. A consumer
that was paused meanwhile may name it again."""
_MARGIN = timedelta(hours=2)
_MATTERS = {kind: timedelta(milliseconds=max_age_ms(kind)) + _MARGIN for kind in topology.LOG_KINDS}
"""How long after its arrival an event of this kind can still affect an answer."""


class LogGapError(Exception):
    """A log lacks events that a position needs. `to` is the offset from which it can be read."""

    def __init__(self, what: str, to: int, first_message: bytes | None) -> None:
        super().__init__(what)
        self.to = to
        self.first_message = first_message


class Logs:
    """Keeps the record while `run` runs. `generation` is the current generation, as last read from Redis."""

    def __init__(self, postgres_url: str, rabbitmq_url: str, pipeline: Pipeline, channels: BrokerChannels) -> None:
        self._postgres_url = postgres_url
        self._rabbitmq_url = rabbitmq_url
        self._pipeline = pipeline
        self._channels = channels
        self._records: dict[str, LogRecord] = {}
        self._losses: dict[str, datetime] = {}
        self._first_messages: dict[str, bytes] = {}
        self._gaps: dict[str, tuple[datetime, bytes | None]] = {}
        self._declared_on = -1
        self._clock = (0, 0.0)
        self._wake = asyncio.Event()
        self.is_recorded = False
        self.is_connected = False
        self.generation = 0

    def all(self) -> list[Log]:
        """Every log to read."""
        return [
            Log.parse(name) for name, record in sorted(self._records.items()) if record.created and not _is_over(record)
        ]

    def must_read(self, name: str) -> list[str]:
        """The logs that a bucket needs to be complete, and `name` itself. A new log counts once it is read."""
        counting = (record.name for record in self._records.values() if record.state != "new" and not _is_over(record))
        return sorted({name, *counting})

    def saw_redis_clock(self, now_ms: int) -> None:
        """Records the time that Redis' clock showed just now."""
        self._clock = (now_ms, time.monotonic())

    def redis_now_ms(self) -> int:
        """What Redis' clock shows now, about."""
        at_ms, since = self._clock
        return at_ms + int((time.monotonic() - since) * 1000)

    def check_beginning(self, log: Log, first: Delivery) -> None:
        """Compares the first message of a log with the record, which learns it if it holds none.

        Raises LogGapError when the log is another one, and UnavailableError while the record is unavailable.
        """
        if not self.is_recorded:
            raise UnavailableError(f"Postgres is away: its record of {log.name} is needed")
        known = self._first_messages.get(log.name) or self._record(log).first_message
        if first.offset:
            return
        found = _fingerprint(first)
        if known is None:
            self._first_messages[log.name] = found
            self._wake.set()
        elif known != found:
            raise LogGapError("its stream was deleted and created again", 0, found)

    def check_age(self, log: Log, oldest_ms: int, offset: int) -> None:
        """Raises LogGapError when events dropped before `offset` could still matter.

        `oldest_ms` is when the message at `offset`, the first one left, arrived by Redis' clock.
        """
        if self.redis_now_ms() - oldest_ms < _MATTERS[log.kind] / timedelta(milliseconds=1):
            raise LogGapError(f"it begins at {offset}: events that still matter were dropped", offset, None)

    def known_gap_ms(self, log: Log) -> int | None:
        """When an earlier gap of this log stops mattering, in UTC milliseconds; None if there is none."""
        until = self._gaps[log.name][0] if log.name in self._gaps else self._record(log).gap_until
        if until is None or until <= datetime.now(UTC):
            return None
        return int(until.timestamp() * 1000)

    def lost_to_ms(self, log: Log) -> int:
        """Logs of this kind may lack events that arrived before this time, UTC milliseconds; 0 for none.

        Only facts that are built from the beginning of the logs lack them. What no position can tell is on record: gaps
        that were found, and logs that were retired and removed.
        """
        gap = self._gaps.get(log.name)
        found = gap[0] - _MATTERS[log.kind] if gap else None
        return max(_ms(found), _ms(self._losses.get(log.kind)))

    async def close_gap(self, log: Log, gap: LogGapError, positions: Positions) -> None:
        """Closes the buckets whose position the log can't serve; moves them after the gap. Raises UnavailableError."""
        until = datetime.now(UTC) + _MATTERS[log.kind]
        _log.error(
            "log lost events; monitors answer 503 until the gap is accepted or expires",
            log=log.name,
            gap=str(gap),
            expires=until.isoformat(timespec="seconds"),
            accept=f"rotary-admin log accept-gap {log.name}",
        )
        metrics.LOG_GAPS.labels(log.name).set(1)
        self._gaps[log.name] = (until, gap.first_message)
        self._first_messages.pop(log.name, None)
        self._wake.set()
        stored = await positions.read(log.name)
        concerned = [bucket for bucket, position in enumerate(stored) if _is_unserved(position.next, gap.to)]
        await positions.gap(concerned, log.name, gap.to, self.must_read(log.name), int(until.timestamp() * 1000))

    async def run(self) -> None:
        """Synchronises with the record, the broker and Redis until cancelled."""
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
                await backoff.wait(f"reading the record of the logs: {error.what}")

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(SYNC_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _guess(self) -> None:
        """Uses the logs that the positions name, if the record was never read."""
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
        if self._declared_on != self._channels.connections or any(not record.created for record in found):
            found = await self._declare(connection, found)
        self._losses = await records.read_losses(connection)
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
        """Declares streams that were never declared. The operator decides about one that is gone."""
        connections = self._channels.connections
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
        """Activates new logs that are read, opens accepted gaps, and forgets logs that hold nothing relevant."""
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
        """Opens the buckets of an accepted gap. Records a gap that its finder could not record."""
        accepted, left_ms = await positions.accept_gap(record.name, _ms(record.gap_accepted))
        if accepted:
            _log.warning("gap accepted; monitors answer again", log=record.name)
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
    """Whether a retired log has held nothing relevant for `longer`."""
    matters = _MATTERS[Log.parse(record.name).kind]
    return record.retired_at is not None and datetime.now(UTC) - record.retired_at > matters + longer


def _ms(moment: datetime | None) -> int:
    return int(moment.timestamp() * 1000) if moment else 0


def _is_unserved(next_offset: int | None, to: int) -> bool:
    """Whether a log that starts at `to` lacks what this position needs. `to` is 0 for a log that ends early."""
    return next_offset is None or next_offset < to or not to


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """A connection that is dropped at the end of the block, because a hung server never answers a close."""
    connection = await connect(url)
    try:
        yield connection
    finally:
        connection.terminate()


def _fingerprint(delivery: Delivery) -> bytes:
    """A hash that identifies a log by its first message."""
    digest = blake2b(delivery.routing_key.encode(errors="replace"), digest_size=16)
    digest.update(b"\0")
    digest.update(delivery.body)
    return digest.digest()
