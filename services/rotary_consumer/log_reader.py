"""Reads one log and folds it into Redis, from the position that Redis holds.

This loop is the only way to fold. A start, a takeover, a loss of data and a rebuild all run it from another position.
After any error, whatever was read but not committed is discarded and read again.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import structlog

from rotary.errors import UnavailableError
from rotary.rabbitmq.markers import Marker, is_in_markers_place, read_marker
from rotary.rabbitmq.stream import Delivery, LogConsumer, LogMissingError, open_log
from rotary.rabbitmq.topology import Log
from rotary.redis import keys
from rotary.redis.connection import FunctionsMissingError, load_functions
from rotary.redis.fold import Batch, Folded, FoldLostError, GenerationReplacedError, PositionLostError, Span, fold
from rotary.redis.pipeline import pack
from rotary.redis.positions import Advance, LogPosition, Positions, decode_position
from rotary.runtime.backoff import Backoff
from rotary.runtime.program import cancel_and_wait
from rotary_consumer import metrics
from rotary_consumer.decode import Decoded, MessageDecoder, refusals
from rotary_consumer.in_order import InOrderTasks
from rotary_consumer.logs import LogGapError
from rotary_consumer.marking import Marking, Tools
from rotary_consumer.parking import Parking

_log = structlog.get_logger(__name__)

ADVANCE_SECONDS = 0.25
MAX_MESSAGES = 500
MAX_HELD, MAX_HELD_BYTES = 2_000, 16_777_216
"""How many messages, and bytes, may wait for the next marker before a second consumer looks for it further on."""
PROBE_SECONDS = 10.0


class LogReader:
    """Folds one log into one generation of the facts."""

    def __init__(self, log: Log, generation: int, tools: Tools) -> None:
        self._log = log
        self._logger = _log.bind(log=log.name, generation=generation)
        self._generation = generation
        self._tools = tools
        self._positions = Positions(tools.pipeline, generation)
        self._parking = Parking(tools.channels, log.name, tools.clock)
        self._parked_from: LogPosition | None = None
        self._checkpoints = deque[tuple[int, int]]()
        self._decoder = MessageDecoder(log.queue, tools.clock_offset_ms)
        self._reached: list[int | None] = [None] * keys.BUCKETS
        self._acknowledged: list[int | None] = [None] * keys.BUCKETS
        self._marking = Marking(log, self._positions, tools)
        self._parks = False
        self._since_ms: int | None = None
        self._advanced_at = 0.0
        self._advanced_ms = 0
        self.attached = False
        self.next_offset: int | None = None

    async def run(self) -> None:
        """Reads until cancelled, or until another generation replaces this one."""
        backoff = Backoff(max_seconds=1.0)
        try:
            while True:
                try:
                    await self._read_on(backoff)
                except PositionLostError:
                    self._logger.warning("Redis lost data; continuing from its position")
                    metrics.POSITIONS_LOST.labels(self._log.name).inc()
                    self._tools.losses.found()
                except LogGapError as gap:
                    await self._close_gap(gap)
                except FunctionsMissingError:
                    await self._load_functions(backoff)
                except UnavailableError as error:
                    await backoff.wait(f"{self._log.name}: {error.what}")
        except GenerationReplacedError:
            self._logger.info("generation replaced")
        finally:
            await self._parking.close()

    async def _load_functions(self, backoff: Backoff) -> None:
        try:
            await load_functions(self._tools.client)
        except UnavailableError as error:
            await backoff.wait(error.what)

    async def _read_on(self, backoff: Backoff) -> None:
        """Attaches to the log and reads until an error occurs."""
        async with AsyncExitStack() as stack:
            # In this order: another reader may meanwhile advance the positions past the end found here.
            positions = await self._positions.read(self._log.name)
            tail = await self._probe_end()
            position = await self._begin(positions, tail)
            begin = position.next
            await self._check_identity(begin)
            self._parked_from = await self._parked_to()
            consumer = await self._open(self._start(position), stack, known_end=tail)
            buffer = await self._first(consumer, begin)
            marking = asyncio.create_task(self._marking.run())
            stack.push_async_callback(cancel_and_wait, marking)
            stack.enter_context(self._tools.losses.heard_by(self._look_at_once))
            folds = await stack.enter_async_context(InOrderTasks())
            self.attached = True
            stack.callback(self._detach)
            backoff.reset()
            self._logger.info("reading", offset=begin if begin is not None else "first")
            while self._parks == (self._generation == self._tools.logs.generation):
                buffer = await self._step(consumer, buffer, folds)

    def _look_at_once(self) -> None:
        """Moves the positions with the next marker, and has it published now: a bucket that lost data says so."""
        self._advanced_at = 0.0
        self._marking.hurry()

    def _detach(self) -> None:
        self.attached = False

    async def _open(
        self, offset: int | str, stack: AsyncExitStack, prefetch: int | None = None, known_end: int = 0
    ) -> LogConsumer:
        prefetch = prefetch or self._tools.prefetch
        try:
            return await stack.enter_async_context(
                open_log(self._tools.url, self._log.queue, offset, prefetch, known_end=known_end)
            )
        except LogMissingError:
            raise LogGapError("its stream was deleted", 0, None) from None

    async def _probe_end(self) -> int:
        """Publishes a marker and reads it back; returns its offset, which is where the log ends now."""
        async with AsyncExitStack() as stack:
            consumer = await self._open("next", stack)
            token = await self._marking.mark()
            deadline = time.monotonic() + PROBE_SECONDS
            while time.monotonic() < deadline:
                for delivery in await consumer.take(MAX_MESSAGES):
                    if self._token(delivery) == token:
                        return delivery.offset
        raise UnavailableError(f"RabbitMQ does not deliver from {self._log.queue}")

    def _token(self, delivery: Delivery) -> str | None:
        if not is_in_markers_place(delivery, self._log.queue):
            return None
        marker = read_marker(delivery)
        return marker.token if marker else None

    async def _begin(self, positions: Sequence[LogPosition], tail: int) -> LogPosition:
        """The earliest position: reading continues there. Raises LogGapError when the log ends before a position."""
        self._reached = [position.next for position in positions]
        self._acknowledged = list(self._reached)
        furthest = max((position.next or 0 for position in positions), default=0)
        if furthest > tail:
            raise LogGapError(f"it ends at {tail}, before the position {furthest}", 0, None)
        earliest = min(positions, key=_offset_or_none)
        if (until_ms := self._tools.logs.known_gap_ms(self._log)) is not None:
            logs = self._tools.logs.must_read(self._log.name)
            await self._positions.gap(range(keys.BUCKETS), self._log.name, None, logs, until_ms)
        begun = [bucket for bucket, position in enumerate(positions) if position.next is not None]
        await self._positions.claim(self._log.name, begun, await self._positions.now_ms())
        self._since_ms = None
        self.next_offset = earliest.next
        return earliest

    async def _check_identity(self, begin: int | None) -> None:
        """Raises LogGapError for a stream that was deleted and created again, even if it has grown past our position.

        Does nothing while the record in Postgres is unavailable.
        """
        if not begin or not self._tools.logs.is_recorded:
            return
        async with AsyncExitStack() as stack:
            consumer = await self._open("first", stack, prefetch=1)
            if taken := await consumer.take(1, PROBE_SECONDS):
                self._tools.logs.check_beginning(self._log, taken[0])

    def _start(self, begin: LogPosition) -> int | str:
        """Where to read from: refusals that may not have been parked are decoded again, with the same verdict."""
        start = begin
        if begin.next is not None and self._parked_from is not None and (self._parked_from.next or 0) < begin.next:
            start = self._parked_from
        self._decoder.marker_ms = start.marker_ms
        self._decoder.upcoming = None
        self._checkpoints.clear()
        return "first" if start.next is None else start.next

    async def _parked_to(self) -> LogPosition | None:
        """The position from which refusals are parked. Only readers of the current generation park."""
        self._parks = self._generation == self._tools.logs.generation
        if not self._parks:
            return None
        [stored] = await self._tools.pipeline.call([pack("HGET", keys.PARKED_TO, self._log.name)])
        if isinstance(stored, bytes):
            return decode_position(stored)
        return self._parked_from  # Redis was emptied; this reader still knows

    async def _first(self, consumer: LogConsumer, begin: int | None) -> list[Delivery]:
        """The first deliveries. Raises LogGapError unless they continue the position."""
        deadline = time.monotonic() + PROBE_SECONDS
        while not (taken := await consumer.take(MAX_MESSAGES)):
            if time.monotonic() > deadline:
                raise UnavailableError(f"RabbitMQ does not deliver from {self._log.queue}")
        first = taken[0]
        if begin is None or not first.offset:
            self._tools.logs.check_beginning(self._log, first)
        elif first.offset > begin:
            raise LogGapError(f"it begins at {first.offset}, after the position {begin}", first.offset, None)
        if begin is None:
            await self._begin_log(first.offset)
        return taken

    async def _begin_log(self, offset: int) -> None:
        """Notes since when everything that arrived is in a log that is read from its beginning."""
        oldest_ms = 0
        if offset:
            _, oldest_ms = await self._look_for_marker(offset)
            self._tools.logs.check_age(self._log, oldest_ms, offset)
        self._since_ms = max(oldest_ms, self._tools.logs.lost_to_ms(self._log))

    async def _close_gap(self, gap: LogGapError) -> None:
        """Closes the buckets that the gap concerns, and continues after it."""
        backoff = Backoff(max_seconds=1.0)
        while True:
            try:
                # Parked messages belong to another log, or to offsets that are gone.
                self._parked_from = None
                await self._tools.pipeline.call([pack("HDEL", keys.PARKED_TO, self._log.name)])
                await self._tools.logs.close_gap(self._log, gap, self._positions)
            except FunctionsMissingError:
                await self._load_functions(backoff)
            except UnavailableError as error:
                await backoff.wait(error.what)
            else:
                break
        await asyncio.sleep(1.0)

    async def _step(self, consumer: LogConsumer, buffer: list[Delivery], folds: InOrderTasks) -> list[Delivery]:
        """Takes, decodes and submits one batch; returns the deliveries that wait for the next marker."""
        if len(buffer) < MAX_MESSAGES:
            buffer = buffer + await consumer.take(MAX_MESSAGES)
        if not buffer:
            await folds.reap()
            return buffer
        found = self._decoder.decode(buffer, self._floors(buffer[0].offset))
        if not found.deliveries:
            return buffer + await self._await_marker(consumer, buffer)
        await self._submit(found, consumer, folds)
        return buffer[len(found.deliveries) :]

    def _floors(self, offset: int) -> list[int] | None:
        """The offsets below which each bucket is complete and all refusals are parked; None when no bucket is ahead."""
        floors = [reached or 0 for reached in self._reached]
        if self._parks:
            parked = (self._parked_from and self._parked_from.next) or 0
            floors = [min(floor, parked) for floor in floors]
        return floors if max(floors) > offset else None

    async def _await_marker(self, consumer: LogConsumer, buffer: Sequence[Delivery]) -> list[Delivery]:
        """More of the log, because the first delivery held can't be judged before the next marker."""
        self._marking.hurry()
        if len(buffer) > MAX_HELD or sum(len(delivery.body) for delivery in buffer) > MAX_HELD_BYTES:
            self._decoder.upcoming = await self._look_for_marker(buffer[-1].offset + 1)
            return []
        if len(buffer) >= self._tools.prefetch // 2:
            await consumer.acknowledge(buffer[-1].tag)
        return await consumer.take(MAX_MESSAGES)

    async def _look_for_marker(self, offset: int) -> tuple[int, int]:
        """The offset and time of the next marker. After a long outage of all readers it may be far away."""
        async with AsyncExitStack() as stack:
            consumer = await self._open(offset, stack)
            while True:
                taken = await consumer.take(MAX_MESSAGES)
                for delivery in taken:
                    if is_in_markers_place(delivery, self._log.queue) and (marker := read_marker(delivery)):
                        return delivery.offset, marker.at_ms
                if taken:
                    await consumer.acknowledge(taken[-1].tag)

    async def _submit(self, found: Decoded, consumer: LogConsumer, folds: InOrderTasks) -> None:
        began = time.perf_counter()

        async def finish(folded: dict[int, Folded]) -> None:
            await self._finish(found, folded)
            await consumer.release(found.deliveries[-1].tag)
            metrics.FOLD_SECONDS.observe(time.perf_counter() - began)

        await self._tools.fold_slots.acquire()
        committed = self._commit(found)
        committed.add_done_callback(lambda _: self._tools.fold_slots.release())
        await folds.submit(committed, finish)

    def _commit(self, found: Decoded) -> "asyncio.Task[dict[int, Folded]]":
        """Starts folding a batch, and the advance that follows its marker. Calls run in order: see Pipeline."""
        buckets: dict[int, list[Batch]] = {}
        for customer, batch in found.batches.items():
            buckets.setdefault(keys.bucket_of(customer), []).append(batch)
        name, marker_ms, logs = self._log.name, found.marker_ms, self._tools.logs.must_read(self._log.name)
        spans = {
            bucket: Span(name, self._reached[bucket], found.end, marker_ms, self._acknowledged[bucket], self._since_ms)
            for bucket in buckets
        }
        for bucket in buckets:
            self._reached[bucket] = max(found.end, self._reached[bucket] or 0)
        # Tasks start in the order of their creation, so these calls are sent in order.
        folding = asyncio.create_task(fold(self._tools.pipeline, buckets, spans, ",".join(logs), self._generation))
        folding.add_done_callback(_retrieve)
        if found.marker is None or not self._is_advance_due(found.marker):
            return asyncio.create_task(self._noted(folding, buckets, found.end))
        reached, at_ms = self._reached, found.marker.at_ms
        self._reached = [max(found.end, offset or 0) for offset in reached]
        advancing = asyncio.create_task(
            self._positions.advance(name, found.end, at_ms, logs, reached, [*self._acknowledged], self._since_ms)
        )
        advancing.add_done_callback(_retrieve)
        return asyncio.create_task(self._both(folding, advancing, found.end))

    async def _noted(
        self, folding: "asyncio.Task[dict[int, Folded]]", buckets: Iterable[int], end: int
    ) -> dict[int, Folded]:
        """Notes up to where Redis acknowledged these buckets."""
        folded = await folding
        for bucket in buckets:
            self._acknowledged[bucket] = max(end, self._acknowledged[bucket] or 0)
        return folded

    async def _both(
        self, folding: "asyncio.Task[dict[int, Folded]]", advancing: "asyncio.Task[Advance]", end: int
    ) -> dict[int, Folded]:
        folded, advanced = await asyncio.gather(folding, advancing)
        if advanced.replaced:
            raise GenerationReplacedError
        if advanced.behind:
            raise PositionLostError
        if advanced.is_ahead:
            raise FoldLostError
        self._acknowledged = [max(end, offset or 0) for offset in self._acknowledged]
        return folded

    def _is_advance_due(self, marker: Marker) -> bool:
        """Whether this marker advances the positions.

        At most once every ADVANCE_SECONDS. Our own marker counts even if Redis' clock went back. Another reader's may
        have been delayed, so it counts only when it is later than the last.
        """
        if time.monotonic() - self._advanced_at < ADVANCE_SECONDS:
            return False
        if not self._marking.is_own(marker) and marker.at_ms <= self._advanced_ms:
            return False
        self._advanced_at = time.monotonic()
        self._advanced_ms = marker.at_ms
        return True

    async def _finish(self, found: Decoded, folded: dict[int, Folded]) -> None:
        if self._parks:
            callers = {caller for one in folded.values() for caller in one.refused}
            for offset, one in refusals(found, callers):
                if offset >= ((self._parked_from and self._parked_from.next) or 0):
                    await self._parking.submit(offset, one)
        self.next_offset = found.end
        self._tools.late.add(found.late)
        metrics.UNKNOWN_CALLERS.inc(sum(one.admitted for one in folded.values()))
        metrics.MESSAGES.inc(len(found.deliveries))
        metrics.EVENTS.inc(found.events)
        if found.marker is not None:
            await self._note_parked(found.end, found.marker_ms)
            behind_ms = self._tools.logs.redis_now_ms() - found.marker.at_ms
            metrics.LAG.labels(self._log.name).set(max(0, behind_ms) / 1000)

    async def _note_parked(self, end: int, marker_ms: int) -> None:
        """Stores up to which offset all refusals are parked, with the marker in force there.

        A reader that starts from it gives every message the same verdict again.
        """
        if not self._parks:
            return
        self._checkpoints.append((end, marker_ms))
        parked_to = self._parking.parked_to(end)
        while len(self._checkpoints) > 1 and self._checkpoints[1][0] <= parked_to:
            self._checkpoints.popleft()
        offset, at_ms = self._checkpoints[0]
        if offset <= parked_to and offset > ((self._parked_from and self._parked_from.next) or 0):
            self._parked_from = LogPosition(offset, at_ms)
            await self._tools.pipeline.call([pack("HSET", keys.PARKED_TO, self._log.name, f"{offset}:{at_ms}")])


def _offset_or_none(position: LogPosition) -> int:
    return -1 if position.next is None else position.next


def _retrieve(task: "asyncio.Task[Any]") -> None:
    """Whoever awaits the task raises its error, but may be cancelled between the error and its turn."""
    task.cancelled() or task.exception()
