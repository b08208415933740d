"""Where the events are that Redis lacks: in a log, at which offset; parked; or nowhere: the broker lost them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import aio_pika

from faults import stored
from faults.ledger import Sent
from faults.world import World
from rotary.domain.facts import facts_of
from rotary.events import CallPlaced
from rotary.rabbitmq.parked import browse, describe
from rotary.rabbitmq.stream import open_log

SHOWN = 20
IDLE_SECONDS = 3.0


async def whereabouts(world: World) -> list[str]:
    """A line for each of the first lost calls, and one that counts them. Raises UnavailableError."""
    lost = await _lost_calls(world)
    places = defaultdict[str, list[str]](list)
    wanted = {one.event.id.encode(): one.event.id for one in lost}
    names = (await world.rabbitmqctl("list_queues", "name", "--no-table-headers")).split()
    for name in sorted(name for name in names if name.startswith("rotary.log.")):
        await _look_into_log(world, name, wanted, places)
    await _look_into_parked(world, wanted, places)
    nowhere = sum(not places[one.event.id] for one in lost)
    told = [f"{len(lost)} calls are lost, {nowhere} of them are neither in a log nor parked"]
    lost.sort(key=lambda one: world.ledger.confirmed_at[one.fact])
    return told + [_line(one, world.ledger.confirmed_at[one.fact], places[one.event.id]) for one in lost[:SHOWN]]


async def _lost_calls(world: World) -> list[Sent]:
    found = []
    for customer in world.customers:
        seen = (await stored.read(world.redis, customer, world.clock())).seen
        for fact in world.ledger.confirmed:
            one = world.ledger.sent[fact]
            if one.customer == customer.id and isinstance(one.event, CallPlaced):
                calls = facts_of(one.event).calls.keys()
                found += [] if calls <= seen.get(one.event.data.caller_id_id, set()) else [one]
    return found


async def _look_into_log(world: World, name: str, wanted: Mapping[bytes, str], places: dict[str, list[str]]) -> None:
    async with open_log(world.rabbitmq_url, name, "first") as consumer:
        while taken := await consumer.take(1000, IDLE_SECONDS):
            for delivery in taken:
                _note(delivery.body, f"{name} at {delivery.offset}", wanted, places)
            await consumer.acknowledge(taken[-1].tag)


async def _look_into_parked(world: World, wanted: Mapping[bytes, str], places: dict[str, list[str]]) -> None:
    async with await aio_pika.connect(world.rabbitmq_url) as connection:
        async for message in browse(await connection.channel()):
            one = describe(message)
            _note(message.body, f"parked from {one.log} at {one.offset}: {one.reason}", wanted, places)


def _note(body: bytes, place: str, wanted: Mapping[bytes, str], places: dict[str, list[str]]) -> None:
    for part in body.split(b'"'):
        if part in wanted:
            places[wanted[part]].append(place)


def _line(one: Sent, confirmed_at: float, places: Sequence[str]) -> str:
    at = datetime.fromtimestamp(confirmed_at, UTC)
    return f"{one.event.id} of customer {one.customer}, confirmed at {at:%H:%M:%S.%f}: {', '.join(places) or 'nowhere'}"
