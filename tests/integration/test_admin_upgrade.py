"""`rotary-admin upgrade` moves a broker of version 0.1, whatever is where: nothing is lost, nothing counts twice."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import aio_pika
import pytest
from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel
from pamqp.common import FieldTable
from redis.asyncio import Redis

from histories import DAY, flagged, placed
from integration.admin_runner import Operator
from integration.private_database import private_database
from integration.private_redis import comparable, expected, own, stored_facts
from integration.private_vhost import lasting_vhost
from rotary.clock import system_clock
from rotary.domain.facts import DAY_MS, fold
from rotary.errors import UnavailableError
from rotary.events import EVENT_CONTENT_TYPE, EXCHANGE, Event, encode_event, routing_key
from rotary.rabbitmq.connection import channel
from running import program, until

pytestmark = pytest.mark.asyncio(loop_scope="function")

NOW = system_clock()()
DAYS = range(NOW // DAY_MS - 3, NOW // DAY_MS + 2)
CUSTOMER, CALLERS = 7, (1, 18)
FOLD, DEAD, PARKED = "rotary.fold", "rotary.dead", "rotary.parked"
LOGS = {
    "rotary.log.calls": ("3D", ["call-placed.*"]),
    "rotary.log.flags": ("35D", ["carrier-flag.*", "cooldown-cleared.*"]),
}
FOLD_ARGUMENTS: FieldTable = {
    "x-queue-type": "quorum",
    "x-dead-letter-exchange": DEAD,
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
    "x-delivery-limit": 100,
}


@pytest.fixture
def servers(postgres_url: str, rabbitmq_url: str, redis_url: str) -> Iterator[dict[str, str]]:
    with ExitStack() as stack:
        yield {
            "postgres_url": stack.enter_context(private_database(postgres_url)),
            "rabbitmq_url": lasting_vhost(rabbitmq_url),
            "redis_url": own(redis_url),
        }


@pytest.fixture
def admin(servers: Mapping[str, str]) -> Operator:
    return Operator({f"ROTARY_{name.upper()}": value for name, value in servers.items()})


async def publish(broker: AbstractChannel, *events: Event, exchange: str = EXCHANGE, key: str = "") -> None:
    target = await broker.get_exchange(exchange)
    for event in events:
        message = aio_pika.Message(encode_event(event), content_type=EVENT_CONTENT_TYPE, delivery_mode=2)
        await target.publish(message, key or routing_key(event, CUSTOMER), mandatory=True)


async def old_broker(broker: AbstractChannel) -> list[Event]:
    """Declares what version 0.1 did and publishes to it; returns the events that must count."""
    exchange = await broker.declare_exchange(EXCHANGE, ExchangeType.TOPIC, durable=True)
    parked = await broker.declare_queue(PARKED, durable=True, arguments={"x-queue-type": "quorum"})
    await parked.bind(await broker.declare_exchange(DEAD, ExchangeType.FANOUT, durable=True))
    queue = await broker.declare_queue(FOLD, durable=True, arguments=FOLD_ARGUMENTS)
    await queue.bind(exchange, "#")
    # A log that was still starting: only the work queue got these.
    in_queue: list[Event] = [placed("queue", NOW), flagged("queue", "blocked", NOW)]
    await publish(broker, *in_queue)
    for name, (age, patterns) in LOGS.items():
        arguments: FieldTable = {
            "x-queue-type": "stream",
            "x-max-age": age,
            "x-stream-max-segment-size-bytes": 50_000_000,
        }
        log = await broker.declare_queue(name, durable=True, arguments=arguments)
        for pattern in patterns:
            await log.bind(exchange, pattern)
    folded: list[Event] = [placed("folded", NOW - DAY), flagged("folded", "spam_label", NOW - 9 * DAY, 1)]
    await publish(broker, *folded)
    for _ in range(4):
        message = await queue.get(timeout=10)
        if message.body in [encode_event(event) for event in in_queue]:
            continue  # stays in the queue, as what a consumer had in hand does
        await message.ack()
    waiting: list[Event] = [
        *[placed(f"{n}", NOW - n, n % 2 * 17 + 1) for n in range(50)],
        flagged("w", "rejected", NOW),
    ]
    await publish(broker, *waiting, *waiting[:9])
    await publish(broker, placed("unknown", NOW), key=f"call-answered.{CUSTOMER}")
    dead = placed("dead", NOW)
    await publish(broker, dead, exchange=DEAD, key=routing_key(dead, CUSTOMER))
    return [*in_queue, *folded, *waiting, dead]


async def messages(servers: Mapping[str, str], queue: str) -> int:
    async with channel(servers["rabbitmq_url"]) as broker:
        return (await broker.declare_queue(queue, passive=True)).declaration_result.message_count or 0


async def test_nothing_is_lost_and_nothing_counts_twice(servers: dict[str, str], admin: Operator, redis: Redis) -> None:
    async with channel(servers["rabbitmq_url"], confirms=True) as broker:
        events = await old_broker(broker)
    wanted = expected(fold({}, events), CALLERS, DAYS)
    assert "run rotary-admin upgrade first" in await admin.refused("upgrade", "--delete-old", "--yes")
    assert "parked: 1" in await admin.done("upgrade", "--yes")
    assert "published again" in await admin.done("upgrade", "--yes"), "again is harmless"

    async def agrees() -> bool:
        stored = await stored_facts(redis, CUSTOMER, CALLERS, DAYS)
        return {caller: comparable(caller_facts, DAYS) for caller, caller_facts in stored.items()} == wanted

    async with program("rotary_consumer", **servers):
        await until(agrees, 30, "the facts are those of all events")
        assert (await messages(servers, FOLD), await messages(servers, PARKED)) == (0, 1)
        await admin.done("upgrade", "--delete-old", "--yes")
        for queue in (FOLD, *LOGS):
            with pytest.raises(UnavailableError, match="NOT_FOUND"):
                await messages(servers, queue)
        assert await agrees()
