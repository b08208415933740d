"""Messages that might stop folding for everybody: another customer's calls go on showing."""

from collections.abc import Sequence
from contextlib import suppress
from struct import pack

import amqp_wire as wire
from faults.by_dialers import parked_reasons, publish
from faults.bystander import bystander_unharmed
from faults.load import SOURCE, Shipment
from faults.trial import Fault, Strike
from faults.world import until
from histories import DAY, placed
from rotary.events import BATCH_CONTENT_TYPE, EVENT_CONTENT_TYPE, EXCHANGE, Event, encode_batch, encode_event
from rotary.rabbitmq import topology

JUNK_BATCHES = 40
OLD_EVENTS, OLD_EVENTS_A_BATCH = 8_000, 1_000
JUNK_SECONDS = 1.0
DEPTH = 1_000


async def deeply_nested(strike: Strike) -> None:
    """A valid event, but for an attribute of a thousand arrays in one another; live, and when logs are read anew."""
    world = strike.world
    parked = await world.waiting(topology.PARKED)
    async with bystander_unharmed(strike):
        for number, one in enumerate(world.dialing):
            event = encode_event(placed(f"deep-{number}", world.clock(), one.callers[2], SOURCE))
            deep = event[:-1] + b',"deep":' + b"[" * DEPTH + b"]" * DEPTH + b"}"
            await publish(strike, deep, f"call-placed.{one.id}", EVENT_CONTENT_TYPE)
        reasons = await parked_reasons(world, parked, len(world.dialing))
        await strike.load.more(200)
    assert {reason.partition(":")[0] for reason in reasons} == {"not_decodable"}
    await _read_anew(strike)


ODD_PROPERTIES: tuple[dict[int, bytes], ...] = (
    {wire.TIMESTAMP: pack(">Q", 1_780_000_000_000_000)},
    {wire.CORRELATION_ID: wire.short(b"\xff\xfe\xc3")},
    {wire.HEADERS: wire.table((b"h", b"Z\0\0\0\0"))},
    {wire.HEADERS: wire.table((b"\xff\xff", b"S" + wire.long(b"\xff")))},
    {wire.HEADERS: wire.table((b"t", wire.nested(DEPTH, b"F")))},
)


async def odd_properties(strike: Strike) -> None:
    """What a client library can't decode: honest events all the same, as far as the broker takes them."""
    taken = 0
    async with bystander_unharmed(strike):
        for number, odd in enumerate(ODD_PROPERTIES):
            one = strike.world.dialing[number % len(strike.world.dialing)]
            shipment = Shipment(one.id, (placed(f"odd-{number}", strike.world.clock(), one.callers[2], SOURCE),))
            strike.world.ledger.sending(shipment.sent())
            header = wire.properties({wire.CONTENT_TYPE: wire.short(EVENT_CONTENT_TYPE.encode())} | odd)
            async with wire.raw_publisher(strike.world.rabbitmq_url) as publisher:
                with suppress(wire.RefusedByBrokerError, TimeoutError):
                    key = f"call-placed.{one.id}".encode()
                    await publisher.publish(EXCHANGE, key, header, encode_event(shipment.events[0]))
                    strike.world.ledger.confirm(shipment.sent())
                    taken += 1
        await strike.load.more(200)
    assert taken >= 3, "the broker takes a timestamp in microseconds, strings that are no UTF-8, and nested tables"
    await _read_anew(strike)


async def junk(strike: Strike) -> None:
    """Batches of a thousand zeros, and of events that are too old: each parked as one message, in nobody's way."""
    world = strike.world
    parked = await world.waiting(topology.PARKED)
    old = [placed(f"old-{number}", world.clock() - 3 * DAY, 1003, SOURCE) for number in range(OLD_EVENTS)]
    batches = [b"[" + b",".join([b"0"] * 1000) + b"]"] * JUNK_BATCHES + _bodies(old)
    async with bystander_unharmed(strike, JUNK_SECONDS):
        for number, body in enumerate(batches):
            one = world.dialing[number % len(world.dialing)]
            await publish(strike, body, f"call-placed.{one.id}", BATCH_CONTENT_TYPE)
        reasons = await parked_reasons(world, parked, len(batches))
        await strike.load.more(200)
    assert sum("1000 of the batch" in reason for reason in reasons) == len(batches)


def _bodies(events: Sequence[Event]) -> list[bytes]:
    step = OLD_EVENTS_A_BATCH
    return [encode_batch(events[begin : begin + step]) for begin in range(0, len(events), step)]


async def _read_anew(strike: Strike) -> None:
    """Whatever is in the logs is read once more."""
    await strike.world.redis.flushall()
    strike.ends()
    await until(strike.world.monitors_answer, "the logs are read anew")
    async with bystander_unharmed(strike):
        await strike.load.more(100)


FAULTS = (
    Fault("an attribute nested 1,000 deep, live and read anew", deeply_nested, readable=False),
    Fault("odd AMQP properties, live and read anew", odd_properties, readable=False),
    Fault("40 batches of zeros, 1.4 MB of old events", junk),
)
