"""Parking: what cannot be folded is kept on a queue of its own, with the reason, for a person to look at."""

import logging
from collections.abc import Sequence

from aio_pika.abc import AbstractChannel
from aiormq.exceptions import AMQPError, ChannelInvalidStateError

from rotary.clock import Clock
from rotary.errors import UnavailableError
from rotary.rabbitmq.messages import Refused
from rotary.rabbitmq.parked import park
from rotary_consumer import metrics

logger = logging.getLogger(__name__)


class Parking:
    """Publishes refused messages to the parked queue through a channel with confirms."""

    def __init__(self, channel: AbstractChannel, clock: Clock) -> None:
        self._channel = channel
        self._clock = clock

    async def park(self, refused: Sequence[Refused]) -> None:
        """Returns once the broker has all of them; parked twice if we die before the acknowledgement, lost never."""
        for one in refused:
            await self._publish(one)
            kind = one.reason.partition(":")[0]
            metrics.PARKED.labels(kind).inc()
            logger.warning("parked a message of %s: %s", one.routing_key, kind)

    async def _publish(self, refused: Refused) -> None:
        try:
            await park(self._channel, refused, self._clock())
        except (AMQPError, ChannelInvalidStateError, OSError, TimeoutError) as error:
            raise UnavailableError(f"RabbitMQ does not take what is to be parked: {error!r}") from error
