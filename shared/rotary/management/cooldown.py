"""Ending the cooldown of caller IDs: an event like any other, and on record with who asked for it."""

import asyncio
from collections.abc import Sequence

from rotary.management.constraints import translate_refusals
from rotary.management.lookups import require_caller_ids
from rotary.management.statements import statement
from rotary.postgres.connection import Connection, translate_errors
from rotary.publisher import Limits, Publisher

_LIMITS = Limits()


async def clear_cooldown(  # limits and reason have defaults
    connection: Connection,
    rabbitmq_url: str,
    customer_id: int,
    caller_ids: Sequence[int],
    source: str,
    limits: Limits = _LIMITS,
    reason: str | None = None,
) -> None:
    """Publishes cooldown-cleared for caller IDs; returns once the broker has stored the events.

    `source` is the events' CloudEvents source; `reason` goes into the audit log. Raises NotFoundError for a caller ID
    that is not the customer's, and the publisher's errors: then nothing is on record, though some of the events may
    have been published.
    """
    await require_caller_ids(connection, customer_id, caller_ids)
    with translate_errors(connection), translate_refusals():
        await connection.execute(statement("record_clears"), customer_id, list(caller_ids), reason)
    async with Publisher(rabbitmq_url, customer_id=customer_id, source=source, limits=limits) as publisher:
        await asyncio.gather(*(publisher.cooldown_cleared(caller_id) for caller_id in caller_ids))
