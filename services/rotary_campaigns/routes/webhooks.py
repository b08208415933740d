"""Webhooks, and the log of what was sent."""

from datetime import UTC, datetime
from uuid import uuid4

from rotary.definitions import MANAGE_SCOPE
from rotary.management import webhooks as model
from rotary.management.fields import NewWebhook, WebhookFields
from rotary_campaigns.http import operations
from rotary_campaigns.http.operations import Call, Operation, Reply, Section
from rotary_campaigns.http.rows import deletes, lists, new_row_reply, reads, updates
from rotary_campaigns.http.schemas import Attempt, Delivery, Webhook, WebhookShown, shown

_SECTION = Section("/api/management/webhooks", "Webhooks", MANAGE_SCOPE, "Webhook not found.")


async def create_webhook(call: Call) -> Reply:
    """A new webhook with its secret."""
    return _with_secret(*await model.create_webhook(call.connection, call.customer_id, call.body))


async def rotate_secret(call: Call) -> Reply:
    """Another secret."""
    return _with_secret(*await model.rotate_secret(call.connection, call.target))


async def test_webhook(call: Call) -> Reply:
    """Sends a test once, now, and tells how that ended."""
    row = await model.read_webhook(call.connection, call.row_id, call.customer_id)
    body = {
        "id": str(uuid4()),
        "type": model.TEST_EVENT,
        "created_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "customer_id": call.customer_id,
        "data": {"webhook_id": row.id},
    }
    delivery_id = await model.add_test_delivery(call.connection, row.id, call.customer_id, body)

    async def send() -> Delivery:
        await call.parts.sender.attempt_once(delivery_id)
        async with call.parts.database.reading() as connection:
            return _delivery(await model.read_delivery(connection, delivery_id))

    return Reply(then=send)


async def list_deliveries(call: Call) -> Reply:
    """A page of what was sent."""
    page = await model.find_deliveries(call.connection, call.row_id, call.customer_id, call.query)
    return Reply(page.map(_delivery))


def _delivery(row: model.Delivery) -> Delivery:
    return shown(Delivery, row, attempts=[shown(Attempt, one) for one in row.attempts])


def _with_secret(row: model.Webhook, secret: str) -> Reply:
    return new_row_reply(_SECTION, WebhookShown, row, secret=secret)


RESOURCES = (
    _SECTION.resource(
        "webhooks",
        "",
        operations.page(
            name="listWebhooks",
            summary="List your webhooks",
            description="Ascending by id.",
            handler=lists(Webhook, model.find_webhooks),
            answer=Webhook,
        ),
        operations.create(
            name="createWebhook",
            summary="Register a webhook",
            description=(
                "An HTTPS URL on a public address is told of these events. `secret` is shown in this answer and "
                "never again. Each request has `X-Rotary-Signature: sha256=` and the HMAC-SHA256, in hex, of the "
                "text of `X-Rotary-Timestamp`, a dot and the body; refuse a timestamp that is more than 300 "
                "seconds away. Answer 2xx within 5 seconds. What fails is sent again for 24 hours, with the same "
                "`X-Rotary-Delivery`; the same delivery may come more than once."
            ),
            handler=create_webhook,
            body=NewWebhook,
            answer=WebhookShown,
            shows_secret=True,
            failures=("Conflict",),
        ),
    ),
    _SECTION.resource(
        "webhook",
        "/{webhook_id}",
        operations.read(
            name="getWebhook", summary="Read a webhook", handler=reads(Webhook, model.read_webhook), answer=Webhook
        ),
        operations.update(
            name="updateWebhook",
            summary="Change a webhook",
            description="Fields that are absent keep their value. The secret stays as it is.",
            handler=updates(Webhook, model.update_webhook),
            body=WebhookFields,
            answer=Webhook,
        ),
        operations.delete(
            name="deleteWebhook",
            summary="Delete a webhook",
            description="With the log of what it was told. What has not been sent is not sent any more.",
            handler=deletes(model.delete_webhook),
        ),
    ),
    _SECTION.resource(
        "webhook_rotate_secret",
        "/{webhook_id}/rotate-secret",
        Operation(
            method="POST",
            name="rotateWebhookSecret",
            summary="Give a webhook another secret",
            description="Everything that is sent from now on is signed with it, also what is sent again.",
            handler=rotate_secret,
            answer=WebhookShown,
            status=201,
            precondition="optional",
        ),
    ),
    _SECTION.resource(
        "webhook_test",
        "/{webhook_id}/test",
        Operation(
            method="POST",
            name="testWebhook",
            summary="Send a test",
            description="Sends `webhook.test` once, now, and tells how that ended. It is in the log, too.",
            handler=test_webhook,
            answer=Delivery,
        ),
    ),
    _SECTION.resource(
        "webhook_deliveries",
        "/{webhook_id}/deliveries",
        operations.page(
            name="listDeliveries",
            summary="Read what a webhook was told",
            description="Of the last 30 days, newest first, with every attempt.",
            handler=list_deliveries,
            answer=Delivery,
        ),
    ),
)
