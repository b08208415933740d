"""Arrival markers record in a log when its messages arrived, because the broker does not.

The reader of a log publishes a marker directly into it twice a second. The marker carries the time of Redis' clock
just before. A log is first in, first out, so a message after a marker arrived after that time. With the markers, every
reader judges an event's own time alike, live or in a replay. A reader that has read its own marker has read
every message that was confirmed before the marker's time.

Only consumers can publish markers: dialers may not write to the default exchange, and the broker checks the user of a
message. Any other message that was published directly into a log is parked.
"""

import re
from secrets import token_hex
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import aio_pika
from aio_pika.abc import AbstractChannel

from rotary.rabbitmq.stream import Delivery

PUBLISH_SECONDS = 10
_BODY = re.compile(rb"(\d{1,15}):([0-9a-f]{16})")


class Marker(NamedTuple):
    """One marker: the time of Redis' clock in milliseconds, and a random token that identifies it."""

    at_ms: int
    token: str


def user_of(url: str) -> str:
    """The user name in a URL; RabbitMQ's default `guest` without one."""
    return unquote(urlsplit(url).username or "guest")


async def publish_marker(channel: AbstractChannel, queue: str, at_ms: int, user: str) -> str:
    """Publishes a marker into a log. Returns its token once the broker has confirmed it."""
    token = token_hex(8)
    message = aio_pika.Message(
        f"{at_ms}:{token}".encode(),
        content_type="text/plain",
        user_id=user,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )
    await channel.default_exchange.publish(message, queue, mandatory=True, timeout=PUBLISH_SECONDS)
    return token


def is_in_markers_place(delivery: Delivery, queue: str) -> bool:
    """Whether a message was published directly into the log, as markers are and events are not."""
    return not delivery.exchange and delivery.routing_key == queue


def read_marker(delivery: Delivery) -> Marker | None:
    """The marker in a delivery, or None. Markers of any user count, so that the consumers' user may change."""
    found = _BODY.fullmatch(delivery.body)
    if found is None or not delivery.user_id:
        return None
    return Marker(int(found[1]), found[2].decode())
