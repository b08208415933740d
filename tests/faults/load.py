"""Load with known content: dialers that publish through the real broker, with confirms, while something breaks."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from random import Random

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange
from aio_pika.exceptions import DeliveryError
from aiormq.exceptions import AMQPError, ChannelInvalidStateError
from msgspec import Struct

from faults.definitions import Customer
from faults.ledger import Ledger, Sent
from histories import HOUR, MINUTE, cleared, flagged, placed
from rotary.clock import Clock
from rotary.events import (
    BATCH_CONTENT_TYPE,
    EVENT_CONTENT_TYPE,
    EXCHANGE,
    FLAG_KINDS,
    Event,
    encode_batch,
    encode_event,
    event_type,
    routing_key,
)

BROKEN = (AMQPError, ChannelInvalidStateError, DeliveryError, OSError, TimeoutError, RuntimeError)
CONFIRM_SECONDS = 3.0
SENDERS = 24
SOURCE = "/dialers/faults"

Times = Callable[[Random, int], int]
"""Draws an event's own time, given the present; both UTC milliseconds."""


def lately(random: Random, now_ms: int) -> int:
    """Within the last two hours, mostly the last minutes."""
    return now_ms - int(random.expovariate(1 / (5 * MINUTE))) % (2 * HOUR)


def within_48_hours(random: Random, now_ms: int) -> int:
    """Anywhere in the window of acceptance, a little off its edges: nobody knows when exactly a message arrives."""
    return random.randint(now_ms - 48 * HOUR + 10 * MINUTE, now_ms)


class Shape(Struct, frozen=True, kw_only=True):
    """What the load is like. `rate` is messages a second; every message of `batches` holds several events."""

    rate: float = 500
    batches: float = 0.05
    copies: int = 1
    repeated: float = 0.05
    careless: float = 0.2
    """How many of the messages are never sent again when the broker did not confirm them."""
    times: Times = lately


class Shipment(Struct, frozen=True):
    """One message: events of one customer and one type."""

    customer: int
    events: tuple[Event, ...]
    careless: bool = False

    def sent(self) -> list[Sent]:
        return [Sent(self.customer, event) for event in self.events]

    def message(self) -> aio_pika.Message:
        single = len(self.events) == 1
        return aio_pika.Message(
            encode_event(self.events[0]) if single else encode_batch([*self.events]),
            content_type=EVENT_CONTENT_TYPE if single else BATCH_CONTENT_TYPE,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )


class _Lane:
    """A channel for one routing key. After a publish that is not confirmed, no later confirm on it counts."""

    def __init__(self, channel: AbstractChannel, exchange: AbstractExchange) -> None:
        self.channel = channel
        self.exchange = exchange
        self.is_usable = True


class NotConfirmedError(RuntimeError):
    """The broker confirmed the message on a channel whose confirms do not count any more."""


class Line:
    """A dialer's connection to the broker: opened again, and again, until it opens.

    Keeps the rules of infra/dialers/README.md. Before 4.0, RabbitMQ confirms messages that it does not store, on a
    channel that feeds two streams or on which a message was returned. With one channel for everything, one broker
    restart in hundreds lost a second's events of one customer.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._opening = asyncio.Lock()
        self._connection: AbstractConnection | None = None
        self._lanes: dict[str, _Lane] = {}
        self._retired: list[AbstractConnection] = []

    async def publish(self, message: aio_pika.Message, key: str, seconds: float) -> None:
        """Returns once the broker has stored the message. Raises one of BROKEN."""
        lane = await self._lane(key)
        try:
            await lane.exchange.publish(message, key, mandatory=True, timeout=seconds)
        except BaseException:
            lane.is_usable = False
            raise
        # A publish before this one may have failed meanwhile: its sender runs first, because it was told first.
        if not lane.is_usable:
            raise NotConfirmedError(key)

    def redirect(self, url: str) -> None:
        """The next use opens another connection, to `url`; what is under way on this one may come to its end."""
        self.url = url
        if self._connection is not None:
            self._retired.append(self._connection)
        self._connection = None
        self._lanes = {}

    async def close(self) -> None:
        """Closes every connection there was."""
        self.redirect(self.url)
        for connection in self._retired:
            try:
                await asyncio.wait_for(connection.close(), 2)
            except BROKEN:
                continue
        self._retired.clear()

    async def _lane(self, key: str) -> _Lane:
        """A usable channel with confirms for this key, open as far as is known."""
        async with self._opening:
            while (lane := self._lanes.get(key)) is None or not lane.is_usable or lane.channel.is_closed:
                try:
                    self._lanes[key] = await self._open(lane)
                except BROKEN:
                    self.redirect(self.url)
                    await asyncio.sleep(0.1)
            return lane

    async def _open(self, replaced: _Lane | None) -> _Lane:
        if self._connection is None or self._connection.is_closed:
            self.redirect(self.url)
            self._connection = await aio_pika.connect(self.url, timeout=5)
        elif replaced is not None and not replaced.channel.is_closed:
            await asyncio.wait_for(replaced.channel.close(), 5)
        async with asyncio.timeout(5):
            channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
            return _Lane(channel, await channel.get_exchange(EXCHANGE, ensure=False))


class Load:
    """Publishes what `plan` draws, from `start` to `finish`."""

    def __init__(self, ledger: Ledger, url: str, plan: Iterator[Shipment], rate: float) -> None:
        self.ledger = ledger
        self.line = Line(url)
        self._plan = plan
        self._pause = 1 / rate
        self._next = 0.0
        self._stopping = False
        self._senders: list[asyncio.Task[None]] = []
        self.confirmed = 0
        """Events confirmed so far, repetitions included."""

    def start(self) -> None:
        self._next = time.monotonic()
        self._senders = [asyncio.create_task(self._send_on()) for _ in range(SENDERS)]

    async def more(self, events: int) -> None:
        """Returns when so many more events have been confirmed."""
        wanted = self.confirmed + events
        async with asyncio.timeout(60):
            while self.confirmed < wanted:
                self._raise()
                await asyncio.sleep(0.02)

    async def finish(self) -> None:
        """Stops, once everything under way is confirmed or given up."""
        self._stopping = True
        try:
            async with asyncio.timeout(60):
                await asyncio.gather(*self._senders)
        finally:
            for sender in self._senders:
                sender.cancel()
            await self.line.close()

    def _raise(self) -> None:
        for sender in self._senders:
            if sender.done():
                sender.result()

    async def _send_on(self) -> None:
        for shipment in self._plan:
            if self._stopping:
                return
            self._next = max(self._next + self._pause, time.monotonic() - 0.05)
            await asyncio.sleep(self._next - time.monotonic())
            await self.send(shipment)

    async def send(self, shipment: Shipment) -> None:
        """Publishes until confirmed; a careless dialer leaves it at one attempt."""
        key = routing_key(shipment.events[0], shipment.customer)
        while True:
            self.ledger.sending(shipment.sent())
            try:
                await self.line.publish(shipment.message(), key, CONFIRM_SECONDS)
            except BROKEN:
                if shipment.careless:
                    return
                await asyncio.sleep(0.05)
            else:
                self.ledger.confirm(shipment.sent())
                self.confirmed += len(shipment.events)
                return


def plan(name: str, customers: Sequence[Customer], shape: Shape, clock: Clock) -> Iterator[Shipment]:
    """The messages of one test, without end; the same name gives the same content but for the time of the day."""
    random = Random(name)
    numbers = count(1)
    earlier: list[Shipment] = []
    while True:
        shipment = _draw(name, numbers, random, customers, shape, clock())
        for _ in range(shape.copies):
            yield shipment
        earlier = [*earlier[-50:], shipment]
        if random.random() < shape.repeated:
            yield random.choice(earlier)


def _draw(
    name: str, numbers: Iterator[int], random: Random, customers: Sequence[Customer], shape: Shape, now_ms: int
) -> Shipment:
    owner = random.choice(customers)
    size = random.randint(2, 40) if random.random() < shape.batches else 1
    kind = random.choices(("call", "flag", "clear"), (96, 3, 1))[0]
    events: list[Event] = []
    for _ in range(size):
        number, at_ms = f"{name}-{next(numbers)}", shape.times(random, now_ms)
        match kind:
            case "call":
                events.append(placed(number, at_ms, random.choice(owner.callers), SOURCE))
            case "flag":
                events.append(flagged(number, random.choice(FLAG_KINDS), at_ms, random.choice(owner.callers), SOURCE))
            case _:
                # Never the first: it is to rest all the time.
                events.append(cleared(number, at_ms, random.choice(owner.callers[1:]), SOURCE))
    assert len({event_type(event) for event in events}) == 1
    # A clear leaves no identity behind, so whether an unconfirmed one arrived could not be told.
    return Shipment(owner.id, tuple(events), careless=kind != "clear" and random.random() < shape.careless)
