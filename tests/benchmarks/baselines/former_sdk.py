"""What the SDK is compared with: version 0.1's, as far as its work for an event and for a message went.

Its event factory, its batching, a task for each message, and aiormq's `basic_publish`. Left out is what a run without
trouble does not reach: reconnecting, publishing again, and telling what failed. A message that fails ends the run.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiormq
import msgspec
from aiormq import Channel
from pamqp.commands import Basic

from rotary.clock import system_clock
from rotary.events import (
    BATCH_CONTENT_TYPE,
    EVENT_CONTENT_TYPE,
    EXCHANGE,
    MAX_MESSAGE_BYTES,
    CallPlaced,
    CallPlacedData,
    Event,
    encode_event,
    event_type,
)
from rotary.publisher import BacklogFullError, Limits
from rotary.publisher.capacity import Capacity

_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


class _Ids:
    def __init__(self) -> None:
        self._ms = -1
        self._head = ""
        self._tail = 0
        self._lock = threading.Lock()

    def next(self, now_ms: int) -> str:
        with self._lock:
            if now_ms > self._ms:
                self._begin(now_ms)
            self._tail += 1
            return f"{self._head}{self._tail:012x}"

    def _begin(self, now_ms: int) -> None:
        chance = int.from_bytes(os.urandom(10), "big")
        variant = 0x8000 | chance >> 66
        self._ms = now_ms
        self._head = f"{now_ms >> 16:08x}-{now_ms & 0xFFFF:04x}-7{chance & 0xFFF:03x}-{variant:04x}-"
        self._tail = (chance >> 12) & (2**47 - 1)


class FormerFactory:
    """Makes the events."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._clock = system_clock()
        self._ids = _Ids()
        self._latest = (0, datetime.fromtimestamp(0, UTC))

    def call_placed(self, caller_id_id: int, group_id: int | None = None, lead_id: str | None = None) -> CallPlaced:
        """One call, now."""
        at, fresh = self._now()
        data = CallPlacedData(caller_id_id, group_id, lead_id)
        return CallPlaced(specversion="1.0", id=fresh, source=self._source, time=at, data=data)

    def _now(self) -> tuple[datetime, str]:
        now_ms = self._clock()
        if self._latest[0] != now_ms:
            self._latest = now_ms, datetime.fromtimestamp(now_ms / 1000, UTC)
        return self._latest[1], self._ids.next(now_ms)


class _Message:
    def __init__(self, routing_key: str, deadline: float) -> None:
        self.routing_key = routing_key
        self.deadline = deadline
        self._bodies: list[bytes] = []
        self._events: list[Event] = []
        self._futures: list[asyncio.Future[None]] = []
        self._bytes = 2

    def __len__(self) -> int:
        return len(self._events)

    def has_room_for(self, body: bytes) -> bool:
        return self._bytes + len(body) + 1 <= MAX_MESSAGE_BYTES

    def add(self, event: Event, body: bytes, future: asyncio.Future[None]) -> int:
        self._events.append(event)
        self._bodies.append(body)
        self._futures.append(future)
        self._bytes += len(body) + 1
        return len(self._events)

    def encoded(self) -> tuple[bytes, str]:
        if len(self._bodies) == 1:
            return self._bodies[0], EVENT_CONTENT_TYPE
        return b"[%b]" % b",".join(self._bodies), BATCH_CONTENT_TYPE

    def confirm(self) -> None:
        for future in self._futures:
            if not future.done():
                future.set_result(None)


class _Lane:
    def __init__(self, routing_key: str, limits: Limits, send: Callable[["_Lane", _Message], None]) -> None:
        self.in_flight = 0
        self._routing_key = routing_key
        self._limits = limits
        self._send = send
        self._open: _Message | None = None
        self._timer: asyncio.Handle | None = None

    def add(self, event: Event, body: bytes) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        if self._open is not None and not self._open.has_room_for(body):
            self.flush()
        message = self._begin(loop) if self._open is None else self._open
        if message.add(event, body, future) >= self._limits.batch_events:
            self.flush()
        return future

    def flush(self) -> None:
        message, self._open = self._open, None
        if message is not None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self.in_flight += 1
            self._send(self, message)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> _Message:
        message = self._open = _Message(self._routing_key, loop.time() + self._limits.deadline_seconds)
        if self.in_flight:
            self._timer = loop.call_later(self._limits.batch_seconds, self.flush)
        else:
            self._timer = loop.call_soon(self.flush)
        return message


class FormerPublisher:
    """Publishes calls of one customer."""

    def __init__(self, channel: Channel, customer: int, limits: Limits) -> None:
        self.events = FormerFactory("/dialers/hcm-1")
        self.confirmed = 0
        self._channel = channel
        self._capacity = Capacity(limits.outstanding_events)
        self._lanes = {"call-placed": _Lane(f"call-placed.{customer}", limits, self._send)}
        self._sending: set[asyncio.Task[None]] = set()
        self._publishing: set[asyncio.Task[object]] = set()

    def submit(self, event: Event) -> asyncio.Future[None]:
        """The future is done when the broker has confirmed the event. Raises BacklogFullError."""
        body = self._checked(event)
        if not self._capacity.try_acquire():
            raise BacklogFullError((event,), "too many are outstanding")
        return self._accept(event, body)

    async def wait_for_capacity(self) -> None:
        """Returns when another event can be accepted."""
        await self._capacity.acquire()
        self._capacity.release(1)

    async def flush(self) -> None:
        """Returns when all is confirmed."""
        for lane in self._lanes.values():
            lane.flush()
        await asyncio.gather(*(asyncio.shield(task) for task in self._sending))

    def _checked(self, event: Event) -> bytes:
        body = encode_event(event)
        _decoder.decode(body)
        return body

    def _accept(self, event: Event, body: bytes) -> asyncio.Future[None]:
        return self._lanes[event_type(event)].add(event, body)

    def _send(self, lane: _Lane, message: _Message) -> None:
        self._sending.add(asyncio.get_running_loop().create_task(self._deliver(lane, message)))

    async def _deliver(self, lane: _Lane, message: _Message) -> None:
        async with asyncio.timeout_at(message.deadline):
            await self._publish(message)
        lane.in_flight -= 1
        self._capacity.release(len(message))
        if (task := asyncio.current_task()) is not None:
            self._sending.remove(task)
        self.confirmed += len(message)
        message.confirm()

    async def _publish(self, message: _Message) -> None:
        body, content_type = message.encoded()
        task: asyncio.Task[object] = asyncio.ensure_future(
            self._channel.basic_publish(
                body,
                exchange=EXCHANGE,
                routing_key=message.routing_key,
                properties=Basic.Properties(content_type=content_type, delivery_mode=2),
                mandatory=True,
                wait=False,
            )
        )
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)
        await task


@asynccontextmanager
async def former_publisher(url: str, customer: int, limits: Limits) -> AsyncIterator[FormerPublisher]:
    """Version 0.1's SDK with a connection of its own."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        assert isinstance(channel, Channel)
        yield FormerPublisher(channel, customer, limits)
    finally:
        await connection.close()
