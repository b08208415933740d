"""Webhooks: where a customer is told, and the record of what was sent."""

import re
import secrets
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from ipaddress import ip_address
from typing import Any, Literal
from urllib.parse import urlsplit

import asyncpg
import msgspec
from msgspec import UNSET, Struct

from rotary.definitions import Status
from rotary.domain.transitions import Condition, WebhookEvent
from rotary.management.errors import InvalidError, NotFoundError, Violation
from rotary.management.fields import NewWebhook, WebhookFields, given
from rotary.management.lookups import require_customer
from rotary.management.pages import Page, PageRequest, fetch_page, page
from rotary.management.rows import Target, change, delete, insert, lock, missing
from rotary.management.statements import statement
from rotary.postgres.connection import Connection, translate_errors

CHANNEL = "rotary_webhooks"
KEPT_DAYS = 30
TEST_EVENT = "webhook.test"
_SECRET_PREFIX = "whsec_"  # noqa: S105  # how a secret begins
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)+")

DeliveryStatus = Literal["pending", "delivered", "failed"]


class Webhook(Struct, frozen=True):
    """A stored webhook, without its secret."""

    id: int
    customer_id: int
    url: str
    events: list[WebhookEvent]
    status: Status
    created_at: datetime
    version: int


class Attempt(Struct, frozen=True):
    """One attempt to deliver: the receiver's HTTP status, or why there is none."""

    at: datetime
    status: int | None
    error: str | None
    milliseconds: int


class Delivery(Struct, frozen=True):
    """Something that a webhook was told, or is to be told."""

    id: str
    webhook_id: int
    event: str
    status: DeliveryStatus
    attempts: list[Attempt]
    created_at: datetime
    next_attempt_at: datetime | None
    finished_at: datetime | None


class Outgoing(Struct, frozen=True):
    """What is needed to send a delivery."""

    id: str
    webhook_id: int
    url: str
    secret: str
    event: str
    body: str
    created_at: datetime
    attempts: int
    is_wanted: bool
    """The webhook is active, and the delivery is pending."""


_attempts = msgspec.json.Decoder(list[Attempt]).decode


async def find_webhooks(connection: Connection, customer_id: int, request: PageRequest) -> Page[Webhook]:
    """A page of a customer's webhooks, ascending by id."""
    rows, total = await fetch_page(connection, "find_webhooks", request, customer_id, None)
    return page([Webhook(*row) for row in rows], total, request)


async def read_webhook(connection: Connection, webhook_id: int, owner: int) -> Webhook:
    """One webhook. Raises NotFoundError, also for one that is not `owner`'s."""
    with translate_errors(connection):
        row = await connection.fetchrow(statement("find_webhooks"), owner, webhook_id)
    if row is None:
        raise missing("webhooks", webhook_id)
    return Webhook(*row)


async def create_webhook(connection: Connection, customer_id: int, fields: NewWebhook) -> tuple[Webhook, str]:
    """Creates a webhook; returns it and its secret, which is not shown again.

    Raises InvalidError for a URL that is not HTTPS. The sender looks at the addresses that it leads to.
    """
    await require_customer(connection, customer_id)
    _check_url(fields.url)
    secret = _new_secret()
    values = {"customer_id": customer_id, "secret": secret} | given(fields)
    row_id = await insert(connection, "webhooks", values)
    return await read_webhook(connection, row_id, customer_id), secret


async def update_webhook(connection: Connection, target: Target, fields: WebhookFields) -> Webhook:
    """Changes the fields that are given. Raises NotFoundError, StaleError and InvalidError."""
    if fields.url is not UNSET:
        _check_url(fields.url)
    row = await lock(connection, "webhooks", target)
    await change(connection, "webhooks", target.id, given(fields))
    return await read_webhook(connection, target.id, row["customer_id"])


async def rotate_secret(connection: Connection, target: Target) -> tuple[Webhook, str]:
    """Gives a webhook another secret, with which everything is signed from then on. Raises as `update_webhook` does."""
    secret = _new_secret()
    row = await lock(connection, "webhooks", target)
    await change(connection, "webhooks", target.id, {"secret": secret})
    return await read_webhook(connection, target.id, row["customer_id"]), secret


async def delete_webhook(connection: Connection, target: Target) -> None:
    """Deletes a webhook, what it was told, and what it was to be told. Raises NotFoundError and StaleError."""
    await delete(connection, "webhooks", target)


async def find_deliveries(connection: Connection, webhook_id: int, owner: int, request: PageRequest) -> Page[Delivery]:
    """A page of what a webhook was told in the last 30 days, newest first. Raises NotFoundError."""
    await read_webhook(connection, webhook_id, owner)
    rows, total = await fetch_page(connection, "find_deliveries", request, webhook_id, None)
    return page([_delivery(row) for row in rows], total, request)


async def read_delivery(connection: Connection, delivery_id: str) -> Delivery:
    """One delivery. Raises NotFoundError."""
    with translate_errors(connection):
        row = await connection.fetchrow(statement("find_deliveries"), None, delivery_id)
    if row is None:
        raise NotFoundError("id", f"delivery {delivery_id} does not exist")
    return _delivery(row)


# What the watcher and the sender need.


async def watched_customers(connection: Connection) -> set[int]:
    """The customers that have an active webhook. Those that have none any more are forgotten."""
    with translate_errors(connection):
        await connection.execute(statement("forget_watches"))
        return {row["customer_id"] for row in await connection.fetch(statement("watched_customers"))}


async def read_conditions(connection: Connection, customer_id: int) -> set[Condition] | None:
    """What was known to hold when it was last looked at; None if it never was."""
    with translate_errors(connection):
        if not await connection.fetchval(statement("is_watched"), customer_id):
            return None
        rows = await connection.fetch(statement("read_conditions"), customer_id)
    return {Condition(row["kind"], row["subject_id"]) for row in rows}


async def record_conditions(
    connection: Connection, customer_id: int, begun: AbstractSet[Condition], over: AbstractSet[Condition]
) -> None:
    """Records what holds now, as the difference from what held before. In the transaction of `add_deliveries`."""
    with translate_errors(connection):
        await connection.execute(statement("watch"), customer_id)
        for name, some in (("add_conditions", begun), ("remove_conditions", over)):
            if some:
                kinds, subjects = [one.kind for one in some], [one.subject_id for one in some]
                await connection.execute(statement(name), customer_id, kinds, subjects)


async def add_deliveries(connection: Connection, customer_id: int, told: Sequence[Mapping[str, Any]]) -> list[str]:
    """Puts a delivery on record for each event and each active webhook that wants it. Returns their ids.

    An event is what a receiver gets, with the fields `type` and `data` (hence Any).
    """
    with translate_errors(connection):
        rows = await connection.fetch(
            statement("add_deliveries"),
            customer_id,
            [one["type"] for one in told],
            [msgspec.json.encode(one).decode() for one in told],
        )
    return [str(row["id"]) for row in rows]


async def add_test_delivery(connection: Connection, webhook_id: int, customer_id: int, body: Mapping[str, Any]) -> str:
    """Puts a test of a webhook on record. Nobody retries it. Any: as in `add_deliveries`."""
    with translate_errors(connection):
        return str(
            await connection.fetchval(
                statement("add_test_delivery"), webhook_id, customer_id, TEST_EVENT, msgspec.json.encode(body).decode()
            )
        )


async def read_outgoing(connection: Connection, delivery_id: str) -> Outgoing | None:
    """What is needed to send a delivery; None if it is gone."""
    with translate_errors(connection):
        row = await connection.fetchrow(statement("read_outgoing"), delivery_id)
    return None if row is None else Outgoing(str(row["id"]), *tuple(row)[1:])


async def record_attempt(
    connection: Connection, delivery_id: str, attempt: Attempt, status: DeliveryStatus, retry_seconds: float
) -> None:
    """Records an attempt and what follows from it: with `pending`, another one after so many seconds."""
    with translate_errors(connection):
        await connection.execute(
            statement("record_attempt"),
            *(delivery_id, msgspec.json.encode([attempt]).decode(), status, retry_seconds),
        )


async def postpone_delivery(connection: Connection, delivery_id: str, seconds: float) -> None:
    """Records that a delivery is attempted later, though nothing was tried."""
    with translate_errors(connection):
        await connection.execute(statement("postpone_delivery"), delivery_id, seconds)


async def close_deliveries(connection: Connection, hours: float) -> None:
    """Closes the deliveries that are still pending so long after they were put on record, as failed."""
    with translate_errors(connection):
        await connection.execute(statement("close_deliveries"), hours)


async def overdue_deliveries(connection: Connection, late_seconds: float, limit: int) -> list[str]:
    """Deliveries of active webhooks whose attempt is so late that their message must be lost. They count as on time
    again.
    """
    with translate_errors(connection):
        rows = await connection.fetch(statement("overdue_deliveries"), late_seconds, limit)
    return [str(row["id"]) for row in rows]


async def forget_old_deliveries(connection: Connection) -> None:
    """Deletes what is older than 30 days."""
    with translate_errors(connection):
        await connection.execute(statement("forget_deliveries"), KEPT_DAYS)


def _new_secret() -> str:
    return _SECRET_PREFIX + secrets.token_urlsafe(32)


def _check_url(url: str) -> None:
    """What can be told of a URL without asking anybody; the sender looks at the addresses."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise InvalidError(Violation("url", "It is not a URL.")) from None
    if parts.scheme != "https":
        raise InvalidError(Violation("url", "Expected an https:// URL."))
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise InvalidError(Violation("url", "A URL with a user, a password or a fragment is not allowed."))
    if not _HOST.fullmatch(host) and not _is_address(host):
        raise InvalidError(Violation("url", "Expected a public host name."))


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _delivery(row: asyncpg.Record) -> Delivery:
    fields = dict(row.items())
    fields["id"], fields["attempts"] = str(fields["id"]), _attempts(fields["attempts"])
    return Delivery(**fields)
