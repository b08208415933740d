"""The SDK for dialers: publishes events to RabbitMQ in batches, and reports every event that was not confirmed.

    async with Publisher("amqps://dialer7:secret@broker/", customer_id=7, source="/dialers/hcm-1") as publisher:
        await publisher.call_placed(caller_id_id=18, group_id=3, lead_id="L-991")

`call_placed` returns when the broker has confirmed the event. `submit` returns a future at once. Dialers without
asyncio use `BlockingPublisher`, which behaves the same. The package needs msgspec and aio-pika, nothing else.

A confirm means that the log, a RabbitMQ stream, has the event. The event then survives a crash of any program, the
broker included. On a single node a power cut can still lose it: a stream writes to the operating system and does not
wait for the disk. A stream with replicas on three nodes confirms what a majority has stored; use that for durability.
Until the confirm, the publisher publishes the event again with the same id. After its deadline it raises an error that
carries the event.
"""

from rotary.errors import ConfigurationError, EventRefusedError, RotaryError, UnavailableError
from rotary.events import CallPlaced, CarrierFlag, CooldownCleared, Event
from rotary.publisher.blocking import BlockingPublisher
from rotary.publisher.errors import (
    BacklogFullError,
    ClosedError,
    DeadlineError,
    PublishError,
    RefusedError,
    UnroutableError,
)
from rotary.publisher.event_factory import EventFactory
from rotary.publisher.limits import Limits
from rotary.publisher.publisher import Publisher

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
