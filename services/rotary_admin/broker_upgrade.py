"""Upgrades the broker of version 0.1, which had a work queue and two logs, to logs only.

In version 0.1 every event was in the queue `rotary.fold` and in one of the streams `rotary.log.calls` and
`rotary.log.flags`. `move` routes new events to the new logs, then publishes again what the old ones contain. An event
that is in both counts once. Both functions can be repeated after an interruption.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime
from secrets import token_hex

import aio_pika
from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import DeliveryError
from aiormq.exceptions import ChannelNotFoundEntity
from msgspec import Struct
from pamqp import decode
from redis.asyncio import Redis

from rotary.domain.facts import event_ms
from rotary.errors import ConfigurationError, EventRefusedError
from rotary.events import BATCH_CONTENT_TYPE, EXCHANGE, Event, encode_batch, spec_of
from rotary.postgres import logs as records
from rotary.postgres.connection import Connection
from rotary.rabbitmq import topology
from rotary.rabbitmq.connection import channel, translate_errors
from rotary.rabbitmq.messages import Opened, Reason, open_message, refused
from rotary.rabbitmq.parked import ROUTING_KEY, park
from rotary.rabbitmq.stream import Delivery, LogConsumer, open_log
from rotary.redis import connection as redis_connection
from rotary.runtime.cli import Failure
from rotary_admin.context import rabbitmq_url, redis_client

FOLD, DEAD, MOVING = "rotary.fold", "rotary.dead", "rotary.parked.moving"
OLD_LOGS = {"rotary.log.flags": ("carrier-flag.*", "cooldown-cleared.*"), "rotary.log.calls": ("call-placed.*",)}
BATCH_MESSAGES = 500
CONFIRM_SECONDS = 30
_OLD_KEYS = "{[0-9]*}:*"
_MARGIN_MS = 60_000


class Copied(Struct):
    """The number of messages published again, and of those parked."""

    published: int = 0
    parked: int = 0


async def move(connection: Connection) -> Copied:
    """Routes new events to the new logs and publishes the old ones' events again. Deletes nothing.

    Raises Failure if the broker needs no upgrade, or consumers of version 0.1 are running.
    """
    await _check_stopped()
    copied = Copied()
    with translate_errors():
        await _recreate_parked(copied)
        await _switch(connection)
        for queue in OLD_LOGS:
            await _copy_log(queue, copied)
        await _drain(FOLD, copied)
    return copied


async def _check_stopped() -> None:
    if (consumers := await _consumers(FOLD)) is None:
        raise Failure(f"the broker has no queue {FOLD}: it needs no upgrade")
    if consumers:
        raise Failure(f"{consumers} consumers of version 0.1 are running: stop them first")


async def _consumers(queue: str) -> int | None:
    """The number of a queue's consumers; None if it does not exist."""
    async with channel(rabbitmq_url()) as opened:
        try:
            return (await opened.declare_queue(queue, passive=True)).declaration_result.consumer_count or 0
        except ChannelNotFoundEntity:
            return None


async def _recreate_parked(copied: Copied) -> None:
    """Recreates the parked queue with its length limit, and publishes its messages again."""
    try:
        async with channel(rabbitmq_url()) as opened:
            await topology.declare_exchanges(opened)
    except ConfigurationError:
        async with channel(rabbitmq_url()) as opened:
            moving = await opened.declare_queue(MOVING, durable=True, arguments={"x-queue-type": "quorum"})
            # Dead letters that arrive meanwhile go to this queue too, not to the one that is about to be deleted.
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
    """Deletes a queue after checking that it is empty, which the broker does not check for quorum queues."""
    if (await opened.declare_queue(queue, passive=True)).declaration_result.message_count:
        raise Failure(f"{queue} is not empty: run rotary-admin upgrade first")
    await opened.queue_delete(queue)


async def _move_all(source: str, target: str) -> None:
    """Moves all messages of a queue, with their first routing keys in a header of ours."""
    async with channel(rabbitmq_url(), confirms=True) as opened, _reading(source, None) as consumer:
        while taken := await consumer.take(BATCH_MESSAGES):
            await asyncio.gather(*(_move(opened, delivery, target) for delivery in taken))
            await consumer.acknowledge(taken[-1].tag)


async def _move(opened: AbstractChannel, delivery: Delivery, target: str) -> None:
    message = _message(delivery.body, delivery.content_type)
    message.headers[ROUTING_KEY] = _key(delivery)
    await opened.default_exchange.publish(message, target, mandatory=True, timeout=CONFIRM_SECONDS)


async def _switch(connection: Connection) -> None:
    """Routes new events to the new logs only. At every moment each event reaches a new log, an old one, or both."""
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
    """Publishes a log's events again, up to a message that we append. The log is unbound, so nothing follows it."""
    if await _consumers(queue) is None:
        return
    async with channel(rabbitmq_url(), confirms=True) as opened, _reading(queue, "first") as consumer:
        end = token_hex(16).encode()
        await opened.default_exchange.publish(aio_pika.Message(end), queue, timeout=CONFIRM_SECONDS)
        while True:
            taken = await consumer.take(BATCH_MESSAGES)
            ended = any(delivery.body == end for delivery in taken)
            events = [delivery for delivery in taken if delivery.exchange]
            await asyncio.gather(*(_copy(opened, delivery, copied) for delivery in events))
            if ended:
                return
            if taken:
                await consumer.acknowledge(taken[-1].tag)


async def _copy(opened: AbstractChannel, delivery: Delivery, copied: Copied) -> None:
    """Publishes a message again, without events that are too old to count. Refused messages were parked on arrival."""
    try:
        found = open_message(delivery)
    except EventRefusedError:
        return
    kept = _recent(found)
    if kept and len(kept) == len(found.events):
        await _publish(opened, delivery, delivery.body, delivery.content_type, copied)
    elif kept:
        body = encode_batch(kept)
        await _publish(opened, delivery, body, BATCH_CONTENT_TYPE, copied)


def _recent(found: Opened) -> Sequence[Event]:
    """The events that are not too old to count."""
    behind_ms = spec_of(found.kind).max_age_ms
    earliest_ms = int(datetime.now(UTC).timestamp() * 1000) - behind_ms + _MARGIN_MS
    return [event for event in found.events if event_ms(event) >= earliest_ms]


async def _drain(queue: str, copied: Copied) -> None:
    """Publishes a queue's messages again and acknowledges each once it is confirmed."""
    async with channel(rabbitmq_url(), confirms=True) as opened, _reading(queue, None) as consumer:
        while taken := await consumer.take(BATCH_MESSAGES):
            await asyncio.gather(*(_publish_whole(opened, delivery, queue, copied) for delivery in taken))
            await consumer.acknowledge(taken[-1].tag)


async def _publish_whole(opened: AbstractChannel, delivery: Delivery, queue: str, copied: Copied) -> None:
    if delivery.exchange or queue == MOVING:  # Otherwise it is a timer message of version 0.1.
        await _publish(opened, delivery, delivery.body, delivery.content_type, copied)


async def _publish(opened: AbstractChannel, delivery: Delivery, body: bytes, content_type: str, copied: Copied) -> None:
    key = _key(delivery)
    exchange = await opened.get_exchange(EXCHANGE, ensure=False)
    try:
        await exchange.publish(_message(body, content_type), key, mandatory=True, timeout=CONFIRM_SECONDS)
        copied.published += 1
    except DeliveryError:
        reason = Reason("unknown_type", "no log takes events with this routing key")
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        await park(opened, refused(delivery._replace(routing_key=key), reason), "", 0, now_ms)
        copied.parked += 1


def _message(body: bytes, content_type: str) -> aio_pika.Message:
    return aio_pika.Message(
        body, content_type=content_type[:200], delivery_mode=aio_pika.DeliveryMode.PERSISTENT, headers={}
    )


def _key(delivery: Delivery) -> str:
    """The routing key of the first publication.

    Our programs write it into a header when they put a message on a queue. A header on a message that came through an
    exchange was written by a dialer and is ignored.
    """
    if delivery.exchange or not delivery.headers:
        return delivery.routing_key
    _, table = decode.field_table(len(delivery.headers).to_bytes(4, "big") + delivery.headers)
    return str(table.get(ROUTING_KEY, delivery.routing_key))


def _reading(queue: str, offset: str | None) -> AbstractAsyncContextManager[LogConsumer]:
    return open_log(rabbitmq_url(), queue, offset, BATCH_MESSAGES * 2, keep_headers=True)


async def delete_old() -> None:
    """Deletes the queues, logs and keys of version 0.1. Raises Failure unless `move` has finished."""
    for log in topology.default_logs():
        async with channel(rabbitmq_url()) as opened:
            if not await topology.exists(opened, log):
                raise Failure(f"the stream {log.queue} does not exist yet: run rotary-admin upgrade first")
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
