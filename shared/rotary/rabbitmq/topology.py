"""Declares all exchanges and queues. Declaring an existing one again changes nothing.

Every accepted event is in exactly one log, a stream. Only logs are bound to the exchange that dialers publish to: a
confirm means that a log has the event, and an event that no log takes is returned.
"""

from collections.abc import Mapping, Sequence
from typing import Self

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel
from aiormq.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed
from msgspec import Struct
from pamqp.common import FieldTable

from rotary.errors import ConfigurationError
from rotary.events import EVENTS, EXCHANGE, LogKind
from rotary.rabbitmq.connection import is_gone

PARKED = "rotary.parked"
MAX_PARKED = 100_000
MAX_PARKED_BYTES = 1_000_000_000

LOG_KINDS: tuple[LogKind, ...] = ("calls", "flags")
DEFAULT_LOGS: Mapping[LogKind, int] = {"calls": 4, "flags": 1}
"""The number of streams of each kind in a new installation. Operators can add more."""
SPREAD: Mapping[LogKind, str] = {"calls": "rotary.calls", "flags": "rotary.flags"}
"""The exchanges that distribute customers over the streams of a kind, by a consistent hash of the routing key."""
_MAX_AGE: Mapping[LogKind, str] = {"calls": "3D", "flags": "35D"}
# Retention drops whole segments, so a segment must be small compared to a day of events.
_SEGMENT_BYTES = 50_000_000


class Log(Struct, frozen=True, order=True):
    """One stream of events. Positions and operators use its `name`, such as calls.0."""

    kind: LogKind
    number: int

    @property
    def name(self) -> str:
        return f"{self.kind}.{self.number}"

    @property
    def queue(self) -> str:
        """The stream's name on the broker."""
        return f"rotary.log.{self.name}"

    @classmethod
    def parse(cls, name: str) -> Self:
        """The log with this name. Raises ValueError for an invalid name."""
        kind, _, number = name.partition(".")
        if kind not in LOG_KINDS or not (number.isascii() and number.isdigit()):
            raise ValueError(f"{name!r} is not the name of a log; expected a name such as calls.0")
        return cls(kind, int(number))


def default_logs() -> list[Log]:
    """The logs of a new installation."""
    return [Log(kind, number) for kind, count in DEFAULT_LOGS.items() for number in range(count)]


async def declare(channel: AbstractChannel) -> None:
    """Declares all that a new installation needs: exchanges, the parked queue, the default logs, and their bindings."""
    await declare_exchanges(channel)
    logs = default_logs()
    for log in logs:
        await declare_log(channel, log)
    await route(channel, logs)


async def declare_exchanges(channel: AbstractChannel) -> None:
    """Declares the exchange that dialers publish to, and the parked queue.

    Raises ConfigurationError if an earlier version declared the parked queue differently.
    """
    await channel.declare_exchange(EXCHANGE, ExchangeType.TOPIC, durable=True)
    arguments: FieldTable = {
        "x-queue-type": "quorum",
        "x-max-length": MAX_PARKED,
        "x-max-length-bytes": MAX_PARKED_BYTES,
    }
    try:
        await channel.declare_queue(PARKED, durable=True, arguments=arguments)
    except ChannelPreconditionFailed as error:
        raise ConfigurationError(
            f"the queue {PARKED} was declared by an earlier version of Rotary: run  rotary-admin upgrade"
        ) from error


async def declare_log(channel: AbstractChannel, log: Log) -> None:
    """Declares the stream of a log. It gets no events until `route` includes it."""
    arguments: FieldTable = {
        "x-queue-type": "stream",
        "x-max-age": _MAX_AGE[log.kind],
        "x-stream-max-segment-size-bytes": _SEGMENT_BYTES,
    }
    await channel.declare_queue(log.queue, durable=True, arguments=arguments)


async def exists(channel: AbstractChannel, log: Log) -> bool:
    """Whether the stream of a log exists. Use a separate channel: the broker closes it if the stream is missing."""
    try:
        await channel.declare_queue(log.queue, passive=True)
    except ChannelNotFoundEntity as error:
        if not is_gone(error):
            raise
        return False
    return True


async def route(channel: AbstractChannel, logs: Sequence[Log]) -> None:
    """Routes every event to one of these logs, which must exist.

    The old bindings stay until the new ones work. Meanwhile an event may be in two logs, and counts once.
    """
    for kind in LOG_KINDS:
        await _route_kind(channel, kind, [log for log in logs if log.kind == kind])


async def unroute(channel: AbstractChannel, log: Log, others: Sequence[Log]) -> None:
    """Routes no more events to `log`. The logs in `others` take them."""
    await route(channel, others)
    queue = await channel.get_queue(log.queue, ensure=False)
    for pattern in patterns(log.kind):
        await queue.unbind(EXCHANGE, pattern)
    if sum(other.kind == log.kind for other in others) > 1:
        await queue.unbind(SPREAD[log.kind], "1")


def patterns(kind: LogKind) -> list[str]:
    """The binding patterns for the events of a kind of log."""
    return [f"{spec.type}.*" for spec in EVENTS.values() if spec.log == kind]


async def _route_kind(channel: AbstractChannel, kind: LogKind, logs: Sequence[Log]) -> None:
    queues = [await channel.get_queue(log.queue, ensure=False) for log in logs]
    if len(logs) == 1:
        for pattern in patterns(kind):
            await queues[0].bind(EXCHANGE, pattern)
        await channel.exchange_delete(SPREAD[kind])
        return
    spread = await channel.declare_exchange(SPREAD[kind], ExchangeType.X_CONSISTENT_HASH, durable=True)
    for queue in queues:
        await queue.bind(spread, "1")
    for pattern in patterns(kind):
        await spread.bind(EXCHANGE, pattern)
    for queue in queues:
        for pattern in patterns(kind):
            await queue.unbind(EXCHANGE, pattern)
