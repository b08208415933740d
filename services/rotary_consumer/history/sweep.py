"""One sweep: looks at all caller IDs of a customer, and writes what has changed of its past days.

What is written is a function of the facts, and of the bounds and policy that each day keeps. So a sweep may be
repeated, interrupted, or run twice at once, and writes the same. Facts that may not be believed end it.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta

from rotary.domain.history import HISTORY_DAYS, days_to_add
from rotary.domain.quota import local_date
from rotary.errors import UnavailableError
from rotary.postgres import history
from rotary.postgres.connection import Connection
from rotary.postgres.history import Customer
from rotary.redis.observation import NotCurrentError
from rotary.redis.past import Past, PastReader
from rotary_consumer import metrics
from rotary_consumer.history.plan import Changes, Plan, plan_days

CALLERS_AT_ONCE = 200
"""A few milliseconds of work, in which this process folds nothing."""
REST = 3
"""How many times as long as its work a sweep then leaves to the fold."""
KEPT_DAYS = HISTORY_DAYS + 5


class OvertakenError(UnavailableError):
    """Another consumer has written figures from newer facts."""

    def __init__(self) -> None:
        super().__init__("History is rolled up by another consumer")


async def sweep(connection: Connection, reader: PastReader, customer: Customer) -> None:
    """Rolls up a customer's days. Raises UnavailableError; NotCurrentError when its facts may not be believed now."""
    begun = await reader.read(customer.id)
    plan = await _plan(connection, customer, begun)
    oldest = local_date(customer.timezone, begun.now_ms) - timedelta(days=KEPT_DAYS)
    after = 0
    while callers := await history.read_caller_ids(connection, customer.id, after, CALLERS_AT_ONCE):
        await _sweep_some(connection, reader, customer.id, plan, callers)
        await history.remove_old_figures(connection, callers, oldest)
        after = callers[-1]
    await history.remove_old_days(connection, customer.id, oldest)
    progress = [day.progress() for day in plan.days]
    await history.finish_sweep(connection, customer.id, begun.now_ms, begun.as_of_ms * 1000, progress)


async def _plan(connection: Connection, customer: Customer, begun: Past) -> Plan:
    stored = await history.read_days(connection, customer.id)
    last = stored[-1].day if stored else None
    added = days_to_add(last, customer.timezone, begun.now_ms, begun.coverage.calls_from_ms)
    days, flags_version = await history.begin_sweep(connection, customer.id, added)
    return Plan(plan_days(days, begun.coverage, begun.now_ms), flags_version)


async def _sweep_some(
    connection: Connection, reader: PastReader, customer: int, plan: Plan, callers: Sequence[int]
) -> None:
    past = await reader.read(customer, callers, plan.utc_days)
    if not plan.is_covered(past.coverage):
        raise NotCurrentError("The facts were lost and rebuilt just now")
    record = await history.read_figures(connection, customer, plan.needs_record(past.facts), plan.dates())
    began = time.perf_counter()
    changes = plan.changes(past.facts, past.flag_versions, record)
    worked = time.perf_counter() - began
    if changes.rows or changes.gone:
        await _write(connection, customer, past.as_of_ms, changes)
    await asyncio.sleep(worked * REST)


async def _write(connection: Connection, customer: int, as_of_ms: int, changes: Changes) -> None:
    written = await history.write_figures(connection, customer, as_of_ms, changes.rows, changes.gone)
    if written is None:
        raise OvertakenError
    metrics.HISTORY_ROWS.inc(written)
