"""What a dialer imports: publishes events to RabbitMQ, confirmed, batched, and never lost without a word.

    async with Publisher("amqps://dialer7:secret@broker/", customer_id=7, source="/dialers/hcm-1") as publisher:
        await publisher.call_placed(caller_id_id=18, group_id=3, lead_id="L-991")

`call_placed` returns when the broker has confirmed the event. `submit` returns at once and gives a future. A dialer
that is not asynchronous uses `BlockingPublisher`, which means the same. Needs msgspec and aio-pika, nothing else.

A confirm means that the log, a RabbitMQ stream, has the event. It survives the end of every program, the broker's too.
On a single node it can be lost with the machine's power: a stream writes to the operating system and does not wait for
the disk. A stream on three nodes confirms what a majority has; that is the durable form. Until the confirm, publish
again with the same id: the publisher does so by itself until its deadline, and then gives the event back in an error.
"""

from rotary.errors import ConfigurationError, EventRefusedError, RotaryError, UnavailableError
from rotary.events import CallPlaced, CarrierFlag, CooldownCleared, Event
from rotary.publisher.publisher import Publisher
from rotary.publisher.blocking import BlockingPublisher
from rotary.publisher.errors import (
    BacklogFullError,
    ClosedError,
    DeadlineError,
    PublishError,
    RefusedError,
    UnroutableError,
)
from rotary.publisher.limits import Limits
from rotary.publisher.event_factory import EventFactory

__all__ = [
    "BacklogFullError",
    "BlockingPublisher",
    "CallPlaced",
    "CarrierFlag",
    "ClosedError",
    "ConfigurationError",
    "CooldownCleared",
    "DeadlineError",
    "Event",
    "EventFactory",
    "EventRefusedError",
    "Limits",
    "PublishError",
    "Publisher",
    "RefusedError",
    "RotaryError",
    "UnavailableError",
    "UnroutableError",
]
