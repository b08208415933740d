"""Faults of those who publish."""

import json
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import aio_pika
import pytest
from aiormq.exceptions import ChannelAccessRefused

from faults.load import SOURCE, Shape, Shipment, within_48_hours
from faults.trial import Fault, Strike
from faults.world import World, until
from histories import DAY, MINUTE, flagged, placed
from rotary.events import BATCH_CONTENT_TYPE, EXCHANGE, encode_event
from rotary.rabbitmq import topology
from rotary.rabbitmq.parked import REASON

BATCHES = 40


async def more(strike: Strike) -> None:
    """The load is the fault."""
    await strike.load.more(3000)


async def poisoned(strike: Strike) -> None:
    """In every batch one event can't be folded: the batch is parked with its index and the reason, the rest folded."""
    world, random = strike.world, Random("poison")
    parked = await world.waiting(topology.PARKED)
    now_ms = world.clock()
    reasons = []
    for number in range(BATCHES):
        customer = random.choice(world.dialing)
        events = [
            placed(f"beside-poison-{number}-{at}", now_ms, random.choice(customer.callers), SOURCE) for at in range(9)
        ]
        shipment = Shipment(customer.id, tuple(events))
        reason, poison = _poison(number, now_ms)
        bodies = [encode_event(event) for event in events]
        bodies.insert(at := random.randrange(10), poison)
        reasons.append(f"{reason}: 1 of the batch, at {at}. At {at}")
        world.ledger.sending(shipment.sent())
        await publish(strike, b"[" + b",".join(bodies) + b"]", f"call-placed.{customer.id}")
        world.ledger.confirm(shipment.sent())
    assert sorted(_heads(await parked_reasons(world, parked, BATCHES))) == sorted(reasons)


def _heads(reasons: list[str]) -> list[str]:
    """The first word, how many, and which."""
    return [":".join(reason.split(":")[:2]) for reason in reasons]


def _poison(number: int, now_ms: int) -> tuple[str, bytes]:
    """An event that must be refused, and the first word of the reason."""
    name = f"poison-{number}"
    kinds = (
        ("out_of_window", encode_event(placed(name, now_ms + 10 * MINUTE, 1001, SOURCE))),
        ("out_of_window", encode_event(placed(name, now_ms - 3 * DAY, 1001, SOURCE))),
        ("wrong_routing_key", encode_event(flagged(name, "blocked", now_ms, 1001, SOURCE))),
        ("unknown_type", encode_event(placed(name, now_ms, 1001, SOURCE)).replace(b"call-placed", b"call-misplaced")),
        ("not_decodable", b'{"type": "call-placed"}'),
        ("not_decodable", b'"no event"'),
    )
    return kinds[number % len(kinds)]


async def cut_in_the_middle(strike: Strike) -> None:
    """Half a batch is none: parked whole. Its dialer sends the whole of it later."""
    world = strike.world
    parked = await world.waiting(topology.PARKED)
    for number in range(10):
        customer = world.dialing[number % len(world.dialing)]
        events = [placed(f"cut-{number}-{at}", world.clock(), customer.callers[at], SOURCE) for at in range(10)]
        shipment = Shipment(customer.id, tuple(events))
        body = shipment.message().body
        await publish(strike, body[: len(body) * (number + 1) // 11], f"call-placed.{customer.id}")
        if number % 2:
            await strike.load.send(shipment)
    assert {reason.partition(":")[0] for reason in await parked_reasons(world, parked, 10)} == {"not_decodable"}


async def publish(strike: Strike, body: bytes, key: str, content_type: str = BATCH_CONTENT_TYPE) -> None:
    """Publishes whatever it is, confirmed."""
    message = aio_pika.Message(body, content_type=content_type, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    await strike.load.line.publish(message, key, 10)


async def parked_reasons(world: World, before: int, count: int) -> list[str]:
    """The reasons of the last `count` parked messages, once they are all there."""

    async def are_there() -> bool:
        return await world.waiting(topology.PARKED) >= before + count

    await until(are_there, f"{count} messages are parked")
    reasons = []
    async with await aio_pika.connect(world.rabbitmq_url) as connection:
        queue = await (await connection.channel()).get_queue(topology.PARKED)
        while message := await queue.get(fail=False):
            await message.ack()
            reasons.append(str(message.headers[REASON]))
    return reasons[before:]


async def forged(strike: Strike) -> None:
    """A dialer's user writes its own customer's keys; with another's the broker closes its channel."""
    world = strike.world
    own, other = world.dialing[:2]
    await world.rabbitmqctl("import_definitions", str(_permissions(world, own.id)))
    address = urlsplit(world.rabbitmq_url)
    url = address._replace(netloc=f"dialer:secret@{address.hostname}:{address.port}").geturl()
    async with await aio_pika.connect(url) as connection:
        for number in range(20):
            honest = Shipment(own.id, (placed(f"honest-{number}", world.clock(), own.callers[2], SOURCE),))
            world.ledger.sending(honest.sent())
            await _publish_as(connection, honest, f"call-placed.{own.id}")
            world.ledger.confirm(honest.sent())
            forgery = Shipment(other.id, (placed(f"forged-{number}", world.clock(), other.callers[2], SOURCE),))
            with pytest.raises(ChannelAccessRefused):
                await _publish_as(connection, forgery, f"call-placed.{other.id}")


async def _publish_as(connection: aio_pika.abc.AbstractConnection, shipment: Shipment, key: str) -> None:
    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
    exchange = await channel.get_exchange(EXCHANGE, ensure=False)
    await exchange.publish(shipment.message(), key, mandatory=True, timeout=10)


def _permissions(world: World, customer: int) -> Path:
    """A user with the permissions of a customer's dialer, as a file for the broker."""
    of_user = {"user": "dialer", "vhost": "/"}
    definitions = {
        "users": [{"name": "dialer", "password": "secret", "tags": []}],
        "permissions": [{**of_user, "configure": "^$", "write": r"^rotary\.events$", "read": "^$"}],
        "topic_permissions": [
            {**of_user, "exchange": EXCHANGE, "write": rf"^[a-z-]+\.{customer}$", "read": "^$"},
        ],
    }
    file = world.stack.directory / "dialer.json"
    file.write_text(json.dumps(definitions), encoding="utf-8")
    return file


FAULTS = (
    Fault("every event three times", more, Shape(copies=3)),
    Fault("events of 48 hours in random order", more, Shape(times=within_48_hours, batches=0.2)),
    Fault("a poison message in every batch", poisoned, short=True),
    Fault("batches cut in the middle", cut_in_the_middle),
    Fault("another customer's routing key", forged),
)
