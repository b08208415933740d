"""Arrival markers: how a log says when what it holds arrived, which the broker does not.

A reader publishes one straight into its log, twice a second; it carries the time of Redis' clock just before. A log is
first in, first out: what comes after a marker arrived after that time. So the log itself says what a reader needs to
judge an event's own time, the same whenever and by whomever it is read; and a marker that its reader has come to proves
that all confirmed before its time has been read.

Only a consumer can publish one: dialers may not write to the default exchange, and the broker checks that the user
beside it is who published it. Whatever else is in a marker's place is parked.
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
    """One marker: Redis' time in milliseconds, and what tells it from others."""

    at_ms: int
    token: str


def user_of(url: str) -> str:
    """The user that a connection to this URL belongs to."""
    return unquote(urlsplit(url).username or "guest")


async def publish_marker(channel: AbstractChannel, queue: str, at_ms: int, user: str) -> str:
    """Puts a marker into a log; returns its token once the broker has it."""
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
    """Whether this was published straight into the log, where markers are and no event."""
    return not delivery.exchange and delivery.routing_key == queue


def read_marker(delivery: Delivery) -> Marker | None:
    """The marker; None for what is none. Whose it is does not matter, so that consumers may get another user."""
    found = _BODY.fullmatch(delivery.body)
    if found is None or not delivery.user_id:
        return None
    return Marker(int(found[1]), found[2].decode())
