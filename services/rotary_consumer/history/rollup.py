"""Rolls up history beside the fold: soon after each customer's midnight, once more when stragglers have come, and for
customers with late events.

One consumer does it at a time, by an advisory lock that ends with its connection. Correctness does not depend on it.
"""

import asyncio
import time
from collections.abc import Collection

import structlog
from msgspec import structs

from rotary.clock import Clock
from rotary.domain.history import due_ms
from rotary.errors import UnavailableError
from rotary.postgres import history
from rotary.postgres.connection import Connection, connect
from rotary.postgres.history import Customer
from rotary.redis.observation import NotCurrentError
from rotary.redis.past import PastReader
from rotary.runtime.backoff import Backoff
from rotary_consumer import metrics
from rotary_consumer.history.late import LateCustomers
from rotary_consumer.history.sweep import OvertakenError, sweep

_log = structlog.get_logger(__name__)

LEAD_SECONDS = 1.0
POLL_SECONDS = 5.0
LATE_SECONDS = 60.0
"""A customer with late events is swept so often at most, and not for more than a part of the time: see LATE_SHARE."""
LATE_SHARE = 20


class HistoryRollup:
    """Runs in every consumer; one rolls up. It waits for Postgres and Redis, and keeps nobody from being ready."""

    def __init__(self, url: str, reader: PastReader, late: LateCustomers, clock: Clock) -> None:
        self._url = url
        self._reader = reader
        self._late = late
        self._clock = clock
        self._customers: dict[int, Customer] = {}
        self._due: dict[int, int] = {}
        self._rested: dict[int, float] = {}

    async def run(self) -> None:
        """Rolls up while it holds the lock, until cancelled."""
        backoff = Backoff()
        while True:
            try:
                connection = await connect(self._url)
                try:
                    await self._lead(connection, backoff)
                finally:
                    connection.terminate()
            except UnavailableError as error:
                self._due = due_since_ms(self._customers.values(), self._clock())
                self._measure()
                await backoff.wait(f"rolling up history: {error.what}")

    async def _lead(self, connection: Connection, backoff: Backoff) -> None:
        while not await history.try_lead(connection):
            backoff.reset()
            self._customers.clear()
            self._due.clear()
            self._measure()
            await asyncio.sleep(LEAD_SECONDS)  # the lock ends with its holder's connection, without notice
        _log.info("rolling up history")
        while True:
            await self.step(connection)
            backoff.reset()
            await asyncio.sleep(POLL_SECONDS)

    async def step(self, connection: Connection) -> None:
        """Sweeps the customers that are due, and then those with late events. Raises UnavailableError."""
        self._customers = {one.id: one for one in await history.read_customers(connection)}
        self._due = due_since_ms(self._customers.values(), await self._reader.now_ms())
        for row in [*self._due]:
            self._measure()
            await self._try(connection, row)
        self._measure()
        await self._sweep_late(connection)

    def _measure(self) -> None:
        """Tells for how long the oldest day has waited, also while Postgres or Redis is away."""
        now_ms = self._clock()
        metrics.HISTORY_OLDEST_DUE.set((now_ms - next(iter(self._due.values()), now_ms)) / 1000)

    async def _sweep_late(self, connection: Connection) -> None:
        for row in await self._late.read():
            if row not in self._customers:
                await self._late.remove(row)
            elif time.monotonic() >= self._rested.get(row, 0):
                await self._late.remove(row)
                is_done = False
                try:
                    is_done = await self._try(connection, row)
                finally:
                    if not is_done:
                        self._late.add([row])

    async def _try(self, connection: Connection, row: int) -> bool:
        """Sweeps a customer. Returns whether that is done; a customer that can't be swept keeps no other waiting."""
        customer = self._customers[row]
        began = time.monotonic()
        try:
            swept_ms = await sweep(connection, self._reader, customer)
        except (NotCurrentError, OvertakenError) as error:
            _log.debug("history waits", customer_id=customer.id, reason=error.what)
            return False
        except UnavailableError:
            raise
        except Exception:  # noqa: BLE001  # folding goes on, and the other customers' history
            metrics.HISTORY_FAILURES.inc()
            _log.exception("rolling up history failed", customer_id=customer.id)
            return False
        took = time.monotonic() - began
        self._customers[row] = structs.replace(customer, swept_ms=swept_ms)
        self._due.pop(row, None)
        metrics.HISTORY_SWEEPS.inc()
        self._rested[customer.id] = time.monotonic() + max(LATE_SECONDS, LATE_SHARE * took)
        return True


def due_since_ms(customers: Collection[Customer], now_ms: int) -> dict[int, int]:
    """The customers that are due, with since when by their clock; whoever has waited longest comes first."""
    # Thousands of customers share few zones.
    zones = {zone: due_ms(zone, now_ms) for zone in {one.timezone for one in customers}}
    # A sweep after now is from a rehearsal that was ahead.
    due = [
        (zones[one.timezone], one.id)
        for one in customers
        if one.swept_ms is None or not zones[one.timezone] <= one.swept_ms <= now_ms
    ]
    return {row: at_ms for at_ms, row in sorted(due)}
