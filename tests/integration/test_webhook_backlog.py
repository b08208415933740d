"""What waits to be sent: it is in the queue once, whatever its receiver does, and is over after a day."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from integration.webhook_receiver import Received, Receiver, receiver
from rotary.management.webhooks import close_deliveries, overdue_deliveries
from rotary.postgres.connection import Connection, open_pool
from rotary_campaigns.database import Database
from rotary_campaigns.webhooks.addresses import AllowedAddresses
from rotary_campaigns.webhooks.retries import RETRY_SECONDS
from rotary_campaigns.webhooks.sender import MAX_AT_ONCE, Sender, opened


@pytest.fixture
async def hook(tmp_path: Path) -> AsyncIterator[Receiver]:
    async with receiver(tmp_path) as made:
        yield made


@pytest.fixture
async def sender(hook: Receiver, database_url: str, connection: Connection) -> AsyncIterator[Sender]:
    """One that may send to loopback, on a database with webhook 1."""
    await connection.execute(
        "INSERT INTO webhooks (id, customer_id, url, events, secret)"
        " VALUES (1, 7, $1, '{group.exhausted}', 'sixteen letters.')",
        hook.url,
    )
    async with (
        open_pool(database_url, 4) as pool,
        opened(Database(pool), AllowedAddresses.parse("127.0.0.0/8"), str(hook.certificates.authority)) as made,
    ):
        yield made


async def pending(connection: Connection, count: int, age: str = "0 s") -> list[str]:
    """New deliveries of webhook 1, which are due since they were put on record."""
    rows = await connection.fetch(
        "INSERT INTO webhook_deliveries (webhook_id, customer_id, event, body, created_at, next_attempt_at)"
        " SELECT 1, 7, 'group.exhausted', $2, now() - $3::text::interval, now() - $3::text::interval"
        " FROM generate_series(1, $1) RETURNING id",
        *(count, json.dumps({"id": str(uuid4()), "data": {"group_id": 3}}), age),
    )
    return [str(row["id"]) for row in rows]


async def status(connection: Connection, delivery_id: str) -> tuple[str, int]:
    row = await connection.fetchrow("SELECT status, attempts FROM webhook_deliveries WHERE id = $1", delivery_id)
    assert row is not None
    return row["status"], row["attempts"]


async def test_what_waits_for_a_receiver_that_hangs_is_not_taken_for_lost(
    sender: Sender, hook: Receiver, connection: Connection
) -> None:
    hook.answers.clear()
    ids = await pending(connection, MAX_AT_ONCE + 1, "2 min")
    sending = [asyncio.create_task(sender.deliver(one)) for one in ids[:-1]]
    received: list[Received] = [await hook.next() for _ in sending]
    assert len(received) == MAX_AT_ONCE
    assert await sender.deliver(ids[-1]) == RETRY_SECONDS[0]
    assert await status(connection, ids[-1]) == ("pending", 0)
    assert ids[-1] not in await overdue_deliveries(connection, 60, 100)
    hook.answers.set()
    assert set(await asyncio.gather(*sending)) == {None}
    assert await sender.deliver(ids[-1]) is None
    assert await status(connection, ids[-1]) == ("delivered", 1)


async def test_what_a_disabled_webhook_was_to_be_told_is_not_queued_again_and_again(
    sender: Sender, hook: Receiver, connection: Connection
) -> None:
    [one] = await pending(connection, 1, "2 min")
    await connection.execute("UPDATE webhooks SET status = 'disabled'")
    assert await overdue_deliveries(connection, 60, 100) == []
    assert await sender.deliver(one) is None
    await connection.execute("UPDATE webhooks SET status = 'active'")
    assert await overdue_deliveries(connection, 60, 100) == [one]
    assert await sender.deliver(one) is None
    assert (await hook.next()).headers["X-Rotary-Delivery"] == one


async def test_what_is_older_than_a_day_is_not_sent_and_is_closed(
    sender: Sender, hook: Receiver, connection: Connection
) -> None:
    [old], [young] = await pending(connection, 1, "26 h"), await pending(connection, 1, "23 h")
    assert await sender.deliver(old) is None
    assert await sender.deliver(young) is None
    assert (await hook.next()).headers["X-Rotary-Delivery"] == young
    assert hook.received.empty()
    await close_deliveries(connection, 25)
    assert await status(connection, old) == ("failed", 0)
    assert await status(connection, young) == ("delivered", 1)
