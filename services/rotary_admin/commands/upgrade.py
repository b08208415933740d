"""`rotary-admin upgrade`: from the broker of version 0.1, a work queue and two logs, to logs alone.

Before, every event was in the queue `rotary.fold` and in one of the streams `rotary.log.calls` and `rotary.log.flags`.
The upgrade has new events go to the new logs, then publishes again what the old ones hold: what is in both counts once.
It can be run again at any point, and deletes nothing unless it is told to.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime
from secrets import token_hex

import aio_pika
import click
from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import DeliveryError
from aiormq.exceptions import ChannelNotFoundEntity
from msgspec import Struct
from pamqp import decode
from redis.asyncio import Redis

from rotary.domain.acceptance import CALLS_BEHIND_MS, FLAGS_BEHIND_MS
from rotary.domain.facts import event_ms
from rotary.errors import ConfigurationError, EventRefusedError
from rotary.events import BATCH_CONTENT_TYPE, EXCHANGE, CallPlaced, encode_batch
from rotary.postgres import logs as records
from rotary.postgres.connection import Connection
from rotary.rabbitmq import topology
from rotary.rabbitmq.connection import channel, translate_errors
from rotary.rabbitmq.messages import Opened, open_message, refused
from rotary.rabbitmq.parked import ROUTING_KEY, park
from rotary.rabbitmq.stream import Delivery, LogConsumer, open_log
from rotary.redis import connection as redis_connection
from rotary_admin.commands.cooldown import rabbitmq_url
from rotary_admin.context import on_database
from rotary.runtime.cli import Failure, confirm, yes_option
from rotary_admin.commands.rebuild import redis_client

FOLD, DEAD, MOVING = "rotary.fold", "rotary.dead", "rotary.parked.moving"
OLD_LOGS = {"rotary.log.flags": ("carrier-flag.*", "cooldown-cleared.*"), "rotary.log.calls": ("call-placed.*",)}
AT_ONCE = 500
CONFIRM_SECONDS = 30
_OLD_KEYS = "{[0-9]*}:*"
_MARGIN_MS = 60_000


class Copied(Struct):
    """How many messages were published again, and how many were put on the parked queue."""

    published: int = 0
    parked: int = 0


@click.command()
@click.option("--delete-old", is_flag=True, help="Delete the queues, the logs and the keys of the earlier version.")
@yes_option
@on_database
async def upgrade(connection: Connection, delete_old: bool, yes: bool) -> None:  # noqa: FBT001  they are the flags
    """Move the broker of version 0.1 to logs alone. Stop the consumers first; publishers go on.

    Nothing is lost and nothing counts twice, also when it is interrupted and run again. The old queues stay until
    --delete-old.
    """
    if delete_old:
        confirm("Delete the queues, the logs and the keys of the earlier version?", yes)
        await _delete_old()
        click.echo("deleted what the earlier version left")
        return
    await _check_stopped()
    copied = Copied()
    with translate_errors():
        await _renew_parked(copied)
        await _switch(connection)
        for queue in OLD_LOGS:
            await _copy_log(queue, copied)
        await _drain(FOLD, copied)
    click.echo(f"published again: {copied.published} messages; parked: {copied.parked}")
    click.echo("start the consumers; when all is well:  rotary-admin upgrade --delete-old")


async def _check_stopped() -> None:
    if (consumers := await _consumers(FOLD)) is None:
        raise Failure(f"there is no queue {FOLD}: this broker needs no upgrade")
    if consumers:
        raise Failure(f"{consumers} consumers of the earlier version still run: stop them first")


async def _consumers(queue: str) -> int | None:
    """How many are registered; None if there is no such queue."""
    async with channel(rabbitmq_url()) as opened:
        try:
            return (await opened.declare_queue(queue, passive=True)).declaration_result.consumer_count or 0
        except ChannelNotFoundEntity:
            return None


async def _renew_parked(copied: Copied) -> None:
    """The parked queue gets its bounds: what it holds is judged anew, and kept aside where that is not possible."""
    try:
        async with channel(rabbitmq_url()) as opened:
            await topology.declare_exchanges(opened)
    except ConfigurationError:
        async with channel(rabbitmq_url()) as opened:
            moving = await opened.declare_queue(MOVING, durable=True, arguments={"x-queue-type": "quorum"})
            # A dead letter that comes meanwhile goes aside too, and not into a queue that is about to go.
            dead = await opened.declare_exchange(DEAD, ExchangeType.FANOUT, durable=True)
            await moving.bind(dead)
            await (await opened.get_queue(topology.PARKED)).unbind(dead)
        await _move_all(topology.PARKED, MOVING)
        async with channel(rabbitmq_url()) as opened:
            await _delete_empty(opened, topology.PARKED)
            await topology.declare_exchanges(opened)
    if await _consumers(MOVING) is not None:
        await _switch_exchanges()
        await _drain(MOVING, copied)
        async with channel(rabbitmq_url()) as opened:
            await _delete_empty(opened, MOVING)


async def _delete_empty(opened: AbstractChannel, queue: str) -> None:
    """Looks first: the broker does not delete a quorum queue on condition that it is empty."""
    if (await opened.declare_queue(queue, passive=True)).declaration_result.message_count:
        raise Failure(f"{queue} is not empty: run  rotary-admin upgrade  first")
    await opened.queue_delete(queue)


async def _move_all(source: str, target: str) -> None:
    """With the headers as they are where they are ours, and without where a dialer wrote them."""
    async with channel(rabbitmq_url(), confirms=True) as opened, _reading(source, None) as consumer:
        while taken := await consumer.take(AT_ONCE):
            await asyncio.gather(*(_move(opened, delivery, target) for delivery in taken))
            await consumer.acknowledge(taken[-1].tag)


async def _move(opened: AbstractChannel, delivery: Delivery, target: str) -> None:
    message = _message(delivery.body, delivery.content_type)
    message.headers[ROUTING_KEY] = _key(delivery)
    await opened.default_exchange.publish(message, target, mandatory=True, timeout=CONFIRM_SECONDS)


async def _switch(connection: Connection) -> None:
    """New events go to the new logs, and to nothing else. Each is in at least one of both all the time."""
    logs = topology.default_logs()
    await records.add_logs(connection, [log.name for log in logs], "active")
    await _switch_exchanges()
    for log in logs:
        await records.mark_created(connection, log.name)
    for queue, patterns in ((FOLD, ("#",)), *OLD_LOGS.items()):
        async with channel(rabbitmq_url()) as opened:
            with suppress(ChannelNotFoundEntity):
                bound = await opened.get_queue(queue)
                for pattern in patterns:
                    await bound.unbind(EXCHANGE, pattern)


async def _switch_exchanges() -> None:
    async with channel(rabbitmq_url()) as opened:
        await topology.declare(opened)


async def _copy_log(queue: str, copied: Copied) -> None:
    """Up to a message that we put at its end: nothing more comes, it is bound to nothing."""
    if await _consumers(queue) is None:
        return
    async with channel(rabbitmq_url(), confirms=True) as opened, _reading(queue, "first") as consumer:
        end = token_hex(16).encode()
        await opened.default_exchange.publish(aio_pika.Message(end), queue, timeout=CONFIRM_SECONDS)
        while True:
            taken = await consumer.take(AT_ONCE)
            ended = any(delivery.body == end for delivery in taken)
            events = [delivery for delivery in taken if delivery.exchange]
            await asyncio.gather(*(_copy(opened, delivery, copied) for delivery in events))
            if ended:
                return
            if taken:
                await consumer.acknowledge(taken[-1].tag)


async def _copy(opened: AbstractChannel, delivery: Delivery, copied: Copied) -> None:
    """What was refused when it came is parked since then; what is too old by now can't be part of an answer."""
    try:
        found = open_message(delivery)
    except EventRefusedError:
        return
    if (kept := _young(found)) and len(kept) == len(found.events):
        await _publish(opened, delivery, delivery.body, delivery.content_type, copied)
    elif kept:
        body = encode_batch([found.events[at][1] for at in kept])
        await _publish(opened, delivery, body, BATCH_CONTENT_TYPE, copied)


def _young(found: Opened) -> Sequence[int]:
    behind_ms = CALLS_BEHIND_MS if found.kind is CallPlaced else FLAGS_BEHIND_MS
    earliest_ms = int(datetime.now(UTC).timestamp() * 1000) - behind_ms + _MARGIN_MS
    return [at for at, (_, event) in enumerate(found.events) if event_ms(event) >= earliest_ms]


async def _drain(queue: str, copied: Copied) -> None:
    """Publishes again what is in a queue, each message acknowledged when it is confirmed."""
    async with channel(rabbitmq_url(), confirms=True) as opened, _reading(queue, None) as consumer:
        while taken := await consumer.take(AT_ONCE):
            await asyncio.gather(*(_publish_whole(opened, delivery, queue, copied) for delivery in taken))
            await consumer.acknowledge(taken[-1].tag)


async def _publish_whole(opened: AbstractChannel, delivery: Delivery, queue: str, copied: Copied) -> None:
    if delivery.exchange or queue == MOVING:  # else it is a tick of the earlier version
        await _publish(opened, delivery, delivery.body, delivery.content_type, copied)


async def _publish(opened: AbstractChannel, delivery: Delivery, body: bytes, content_type: str, copied: Copied) -> None:
    key = _key(delivery)
    exchange = await opened.get_exchange(EXCHANGE, ensure=False)
    try:
        await exchange.publish(_message(body, content_type), key, mandatory=True, timeout=CONFIRM_SECONDS)
        copied.published += 1
    except DeliveryError:
        reason = "unknown_type: no log takes events with this routing key"
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        await park(opened, refused(delivery._replace(routing_key=key), reason), "", 0, now_ms)
        copied.parked += 1


def _message(body: bytes, content_type: str) -> aio_pika.Message:
    return aio_pika.Message(
        body, content_type=content_type[:200], delivery_mode=aio_pika.DeliveryMode.PERSISTENT, headers={}
    )


def _key(delivery: Delivery) -> str:
    """Under what it was published first. What a program of ours put on a queue says so in a header; of a dialer's
    message, which a dead letter still is, only the broker's word counts."""
    if delivery.exchange or not delivery.headers:
        return delivery.routing_key
    _, table = decode.field_table(len(delivery.headers).to_bytes(4, "big") + delivery.headers)
    return str(table.get(ROUTING_KEY, delivery.routing_key))


def _reading(queue: str, offset: str | None) -> AbstractAsyncContextManager[LogConsumer]:
    return open_log(rabbitmq_url(), queue, offset, AT_ONCE * 2, keep_headers=True)


async def _delete_old() -> None:
    for log in topology.default_logs():
        async with channel(rabbitmq_url()) as opened:
            if not await topology.exists(opened, log):
                raise Failure(f"there is no {log.queue} yet: run  rotary-admin upgrade  first")
    for queue in (FOLD, *OLD_LOGS):
        async with channel(rabbitmq_url()) as opened:
            try:
                await _delete_empty(opened, queue) if queue == FOLD else await opened.queue_delete(queue)
            except ChannelNotFoundEntity:
                continue
    async with channel(rabbitmq_url()) as opened:
        await opened.exchange_delete(DEAD)
    async with redis_client() as client:
        await _delete_keys(client)


async def _delete_keys(client: Redis) -> None:
    with redis_connection.translate_errors():
        async for name in client.scan_iter(match=_OLD_KEYS, count=1000):
            await client.unlink(name)
        async for name in client.scan_iter(match="token:*", count=1000):
            await client.unlink(name)
        await client.unlink("rotary:epoch", "rotary:ready", "rotary:consumers", "rotary:rebuilt", "rotary:definitions")
