"""Takes deliveries from the queue and has them sent, several at a time, on every replica."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from rotary.errors import ConfigurationError, UnavailableError
from rotary.rabbitmq.connection import confirm_channel, connection, translate_errors
from rotary.runtime.program import cancel_and_wait
from rotary_campaigns.webhooks.queue import declare, publish
from rotary_campaigns.webhooks.sender import Sender

PREFETCH = 64
RETRY_SECONDS = 1.0
_AWAY_SECONDS = 1.0
_log = structlog.get_logger("rotary_campaigns")


class DeliveryConsumer:
    """Runs until cancelled. A message is acknowledged when its attempt is on record, and its next one is queued."""

    def __init__(self, rabbitmq_url: str, sender: Sender) -> None:
        self._url = rabbitmq_url
        self._sender = sender
        self._channel: AbstractChannel | None = None
        self.is_connected = asyncio.Event()

    async def publish(self, delivery_ids: list[str]) -> None:
        """Queues deliveries to be attempted now. Raises UnavailableError while the broker is away."""
        channel = self._channel
        if channel is None:
            raise UnavailableError("RabbitMQ is away")
        with translate_errors():
            await asyncio.gather(*(publish(channel, one) for one in delivery_ids))

    async def run(self) -> None:
        """Consumes, through any number of losses of the broker."""
        told = ""
        while True:
            try:
                await self._consume()
            except (UnavailableError, ConfigurationError) as error:
                if str(error) != told:
                    _log.warning("not sending webhooks", reason=str(error))
                told = str(error)
            finally:
                self._channel = None
                self.is_connected.clear()
            await asyncio.sleep(RETRY_SECONDS)

    async def _consume(self) -> None:
        async with connection(self._url) as broker:
            with translate_errors():
                self._channel = channel = await confirm_channel(broker)
                await channel.set_qos(prefetch_count=PREFETCH)
                queue = await declare(channel)
                # The client cancels callbacks when the connection is lost: what takes time runs in tasks of ours.
                arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
                await queue.consume(_putting(arrived))
            self.is_connected.set()
            closed = asyncio.create_task(_closed(broker.closed()))
            taking = asyncio.create_task(self._take(arrived, channel))
            try:
                await asyncio.wait([closed, taking], return_when=asyncio.FIRST_COMPLETED)
            finally:
                await cancel_and_wait(closed, taking)
        raise UnavailableError("RabbitMQ is away", "the connection was lost")

    async def _take(self, arrived: asyncio.Queue[AbstractIncomingMessage], channel: AbstractChannel) -> None:
        sending: set[asyncio.Task[None]] = set()
        try:
            while True:
                task = asyncio.create_task(self._send(await arrived.get(), channel))
                sending.add(task)
                task.add_done_callback(sending.discard)
        finally:
            await cancel_and_wait(*sending)

    async def _send(self, message: AbstractIncomingMessage, channel: AbstractChannel) -> None:
        try:
            delivery_id = message.body.decode(errors="replace")
            seconds = await self._sender.deliver(delivery_id)
            with translate_errors():
                if seconds is not None:
                    await publish(channel, delivery_id, seconds)
                await message.ack()
        except UnavailableError as error:
            # A server is away. The message comes again, and so may the delivery.
            _log.warning("webhook not recorded", reason=error.what)
            await asyncio.sleep(_AWAY_SECONDS)
            with suppress(UnavailableError), translate_errors():
                await message.nack(requeue=True)
        except Exception:  # noqa: BLE001  # a defect: the delivery is overdue soon, and comes again
            _log.exception("webhook failed")
            with suppress(UnavailableError), translate_errors():
                await message.ack()


def _putting(
    arrived: asyncio.Queue[AbstractIncomingMessage],
) -> Callable[[AbstractIncomingMessage], Awaitable[None]]:
    async def put(message: AbstractIncomingMessage) -> None:
        arrived.put_nowait(message)

    return put


async def _closed(closing: Awaitable[object]) -> None:
    await asyncio.wait([asyncio.ensure_future(closing)])
