"""The one place that declares exchanges and queues; declaring again what exists is harmless.

What an operator may need to tune (lengths, memory, delivery limits) is a broker policy, not an argument here, because
a queue that exists with other arguments cannot be redeclared.
"""

from functools import lru_cache

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel
from pamqp.common import FieldTable

from rotary.events import EVENT_TYPES, EXCHANGE, EventType

FOLD = "rotary.fold"
PARKED = "rotary.parked"
LOG_CALLS = "rotary.log.calls"
LOG_FLAGS = "rotary.log.flags"
LOGS = (LOG_FLAGS, LOG_CALLS)
"""The streams a replay reads, flags first: they are few, and a missing rest does more harm than a missing call."""
DEAD = "rotary.dead"
"""Where the broker itself puts what it gives up. Its messages keep the routing key they were published with, which is
whose they are: their headers are the dialer's, and may say anything."""

# Retention drops whole segments, so a segment must be small beside a day's log.
_SEGMENT_BYTES = 50_000_000
_LOG_OF: dict[EventType, str] = {
    "call-placed": LOG_CALLS,
    "carrier-flag": LOG_FLAGS,
    "cooldown-cleared": LOG_FLAGS,
}


async def declare(channel: AbstractChannel) -> None:
    """Declares everything Rotary needs on the broker, and binds it."""
    exchange = await channel.declare_exchange(EXCHANGE, ExchangeType.TOPIC, durable=True)
    parked = await channel.declare_queue(PARKED, durable=True, arguments={"x-queue-type": "quorum"})
    await parked.bind(await channel.declare_exchange(DEAD, ExchangeType.FANOUT, durable=True))
    fold = await channel.declare_queue(FOLD, durable=True, arguments=_FOLD_ARGUMENTS)
    logs = {
        name: await channel.declare_queue(name, durable=True, arguments=_log_arguments(age))
        for name, age in ((LOG_CALLS, "3D"), (LOG_FLAGS, "35D"))
    }
    for kind in EVENT_TYPES:
        await logs[_LOG_OF[kind]].bind(exchange, f"{kind}.*")
    # Last, and everything: an event of an unknown type is parked with a reason, not returned to its publisher.
    await fold.bind(exchange, "#")


# At-least-once, so that what dead-letters reaches the parked queue even if the broker dies between the two. A limit
# well over the connection drops that a message may live through: each of them counts as a delivery.
_FOLD_ARGUMENTS: FieldTable = {
    "x-queue-type": "quorum",
    "x-dead-letter-exchange": DEAD,
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
    "x-delivery-limit": 100,
}


@lru_cache(maxsize=65536)
def log_of(routing_key: str) -> str:
    """The log that holds messages with this routing key; KeyError for an unknown type."""
    return _LOG_OF[routing_key.partition(".")[0]]  # type: ignore[index]  # an unknown type is the KeyError promised


def _log_arguments(age: str) -> FieldTable:
    return {"x-queue-type": "stream", "x-max-age": age, "x-stream-max-segment-size-bytes": _SEGMENT_BYTES}
