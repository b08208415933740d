"""Rolls up history beside the fold: soon after each customer's midnight, once more when stragglers have come, and for
customers with late events.

One consumer does it at a time, by an advisory lock that ends with its connection. Correctness does not depend on it.
"""

import asyncio
import time
from collections.abc import Mapping

import structlog

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

    def __init__(self, url: str, reader: PastReader, late: LateCustomers) -> None:
        self._url = url
        self._reader = reader
        self._late = late
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
                    metrics.HISTORY_OLDEST_DUE.set(0)
            except UnavailableError as error:
                await backoff.wait(f"rolling up history: {error.what}")

    async def _lead(self, connection: Connection, backoff: Backoff) -> None:
        while not await history.try_lead(connection):
            backoff.reset()
            await asyncio.sleep(LEAD_SECONDS)  # the lock ends with its holder's connection, without notice
        _log.info("rolling up history")
        while True:
            await self.step(connection)
            backoff.reset()
            await asyncio.sleep(POLL_SECONDS)

    async def step(self, connection: Connection) -> None:
        """Sweeps the customers that are due, and then those with late events. Raises UnavailableError."""
        customers = {one.id: one for one in await history.read_customers(connection)}
        now_ms = await self._reader.now_ms()
        due = sorted((ms, row) for row, one in customers.items() if (ms := due_since_ms(one, now_ms)) is not None)
        waiting: list[int] = []
        for at_ms, row in due:
            metrics.HISTORY_OLDEST_DUE.set(max(0, now_ms - min([at_ms, *waiting])) / 1000)
            if not await self._try(connection, customers[row]):
                waiting.append(at_ms)
        metrics.HISTORY_OLDEST_DUE.set(max(0, now_ms - min(waiting)) / 1000 if waiting else 0)
        await self._sweep_late(connection, customers)

    async def _sweep_late(self, connection: Connection, customers: Mapping[int, Customer]) -> None:
        for row in await self._late.read():
            if row not in customers:
                await self._late.remove(row)
            elif time.monotonic() >= self._rested.get(row, 0):
                await self._late.remove(row)
                if not await self._try(connection, customers[row]):
                    self._late.add([row])

    async def _try(self, connection: Connection, customer: Customer) -> bool:
        """Sweeps a customer. Returns whether that is done; a customer that can't be swept keeps no other waiting."""
        began = time.monotonic()
        try:
            await sweep(connection, self._reader, customer)
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
        metrics.HISTORY_SWEEPS.inc()
        self._rested[customer.id] = time.monotonic() + max(LATE_SECONDS, LATE_SHARE * took)
        return True


def due_since_ms(customer: Customer, now_ms: int) -> int | None:
    """Since when a customer is due, by its own clock; None if it is not."""
    at_ms = due_ms(customer.timezone, now_ms)
    swept_ms = customer.swept_ms
    # A sweep after now is from a rehearsal that was ahead.
    return None if swept_ms is not None and at_ms <= swept_ms <= now_ms else at_ms
