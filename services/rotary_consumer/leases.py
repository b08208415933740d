"""Leases in Redis share the logs fairly between consumers.

A lease avoids double work. It is not needed for safety: two readers of one log do no harm. A consumer that can't reach
Redis keeps reading its logs, and one that can't reach the broker gives up its leases.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

import structlog
from redis.asyncio import Redis

from rotary.errors import UnavailableError
from rotary.rabbitmq.topology import Log
from rotary.redis.connection import FunctionsMissingError, check_server, load_functions
from rotary.redis.positions import lease
from rotary.runtime.backoff import Backoff
from rotary.runtime.program import cancel_and_wait
from rotary_consumer import metrics
from rotary_consumer.broker_channels import BrokerChannels
from rotary_consumer.generations import Generations
from rotary_consumer.log_reader import LogReader
from rotary_consumer.logs import Logs

_log = structlog.get_logger(__name__)

TTL_MS = 1_300
TICK_SECONDS = 0.3

Unit = tuple[int, Log]
"""A generation of the facts, and the log that one reader folds into it."""


class Leases:
    """Runs one reader for each lease held."""

    def __init__(  # composed once
        self,
        name: str,
        client: Redis,
        logs: Logs,
        generations: Generations,
        channels: BrokerChannels,
        make_reader: Callable[[Log, int], LogReader],
    ) -> None:
        self._name = name
        self._client = client
        self._logs = logs
        self._generations = generations
        self._channels = channels
        self._make_reader = make_reader
        self._readers: dict[Unit, tuple[LogReader, asyncio.Task[None]]] = {}
        self._unreachable = 0
        self._is_checked = False

    @property
    def readers(self) -> Mapping[Unit, LogReader]:
        """The readers that are running."""
        return {unit: reader for unit, (reader, _) in self._readers.items()}

    async def run(self) -> None:
        """Renews leases and runs their readers until cancelled, then gives the leases back."""
        backoff = Backoff(max_seconds=1.0)
        try:
            while True:
                try:
                    await self._tick()
                    backoff.reset()
                except FunctionsMissingError:
                    self._is_checked = False
                    with suppress(UnavailableError):
                        await load_functions(self._client)
                except UnavailableError as error:
                    self._is_checked = False
                    await backoff.wait(error.what)
                await asyncio.sleep(TICK_SECONDS)
        finally:
            await self._leave()

    async def _tick(self) -> None:
        self._raise_failures()
        if not self._is_checked:
            # It may be another server than last time.
            await check_server(self._client)
            self._is_checked = True
        self._logs.generation = (await self._generations.look()).current
        units = self._units()
        # A short loss of the connection does not hand the logs over.
        self._unreachable = 0 if self._channels.is_connected else self._unreachable + 1
        held = set[Unit]()
        if self._unreachable < 5:
            names = {f"{generation}/{log.name}": (generation, log) for generation, log in units}
            held = {names[name] for name in await lease(self._client, self._name, TTL_MS, sorted(names))}
        else:
            await lease(self._client, self._name, 0, ())
        await self._run_exactly(held)

    def _units(self) -> list[Unit]:
        return [(generation, log) for generation in self._generations.being_read() for log in self._logs.all()]

    async def _run_exactly(self, held: set[Unit]) -> None:
        for unit in self._readers.keys() - held:
            _log.info("stopped reading", log=unit[1].name, generation=unit[0])
            await cancel_and_wait(self._readers.pop(unit)[1])
        for unit in sorted(held - self._readers.keys()):
            reader = self._make_reader(unit[1], unit[0])
            self._readers[unit] = reader, asyncio.create_task(reader.run())
        metrics.LOGS_READ.set(len(self._readers))

    def _raise_failures(self) -> None:
        for unit, (_, task) in list(self._readers.items()):
            if task.done():
                del self._readers[unit]
                task.result()

    async def _leave(self) -> None:
        await cancel_and_wait(*(task for _, task in self._readers.values()))
        with suppress(UnavailableError):
            await lease(self._client, self._name, 0, ())
