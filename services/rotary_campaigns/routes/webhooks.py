"""Webhooks, and the log of what was sent."""

from datetime import UTC, datetime
from uuid import uuid4

from rotary.definitions import MANAGE_SCOPE
from rotary.management import webhooks as model
from rotary.management.fields import NewWebhook, WebhookFields
from rotary.management.pages import PageRequest
from rotary_campaigns.http.operations import Call, Operation, Reply, Resource
from rotary_campaigns.http.schemas import Attempt, Delivery, Webhook, WebhookShown, shown

PATH = "/api/management/webhooks"
_TAG = "Webhooks"
_MISSING = "Webhook not found."


async def list_webhooks(call: Call) -> Reply:
    """A page of the customer's webhooks."""
    page = await model.find_webhooks(call.connection, call.customer_id, call.query)
    return Reply(page.map(lambda row: shown(Webhook, row)))


async def create_webhook(call: Call) -> Reply:
    """A new webhook with its secret."""
    return _with_secret(*await model.create_webhook(call.connection, call.customer_id, call.body))


async def read_webhook(call: Call) -> Reply:
    """One webhook."""
    row = await model.read_webhook(call.connection, call.row_id, call.customer_id)
    return Reply(shown(Webhook, row), row.version)


async def update_webhook(call: Call) -> Reply:
    """Changes the given fields."""
    row = await model.update_webhook(call.connection, call.target, call.body)
    return Reply(shown(Webhook, row), row.version)


async def delete_webhook(call: Call) -> Reply:
    """Deletes it."""
    await model.delete_webhook(call.connection, call.target)
    return Reply()


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
    return Reply(shown(WebhookShown, row, secret=secret), row.version, f"{PATH}/{row.id}")


RESOURCES = (
    Resource(
        "webhooks",
        PATH,
        _TAG,
        MANAGE_SCOPE,
        _MISSING,
        (
            Operation(
                method="GET",
                name="listWebhooks",
                summary="List your webhooks",
                description="Ascending by id.",
                handler=list_webhooks,
                query=PageRequest,
                answer=Webhook,
                is_page=True,
            ),
            Operation(
                method="POST",
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
                status=201,
                is_idempotent=True,
                shows_secret=True,
                failures=("Conflict",),
            ),
        ),
    ),
    Resource(
        "webhook",
        PATH + "/{webhook_id}",
        _TAG,
        MANAGE_SCOPE,
        _MISSING,
        (
            Operation(method="GET", name="getWebhook", summary="Read a webhook", handler=read_webhook, answer=Webhook),
            Operation(
                method="PUT",
                name="updateWebhook",
                summary="Change a webhook",
                description="Fields that are absent keep their value. The secret stays as it is.",
                handler=update_webhook,
                body=WebhookFields,
                answer=Webhook,
                precondition="required",
            ),
            Operation(
                method="DELETE",
                name="deleteWebhook",
                summary="Delete a webhook",
                description="With the log of what it was told. What has not been sent is not sent any more.",
                handler=delete_webhook,
                status=204,
                precondition="optional",
            ),
        ),
    ),
    Resource(
        "webhook_rotate_secret",
        PATH + "/{webhook_id}/rotate-secret",
        _TAG,
        MANAGE_SCOPE,
        _MISSING,
        (
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
    ),
    Resource(
        "webhook_test",
        PATH + "/{webhook_id}/test",
        _TAG,
        MANAGE_SCOPE,
        _MISSING,
        (
            Operation(
                method="POST",
                name="testWebhook",
                summary="Send a test",
                description="Sends `webhook.test` once, now, and tells how that ended. It is in the log, too.",
                handler=test_webhook,
                answer=Delivery,
            ),
        ),
    ),
    Resource(
        "webhook_deliveries",
        PATH + "/{webhook_id}/deliveries",
        _TAG,
        MANAGE_SCOPE,
        _MISSING,
        (
            Operation(
                method="GET",
                name="listDeliveries",
                summary="Read what a webhook was told",
                description="Of the last 30 days, newest first, with every attempt.",
                handler=list_deliveries,
                query=PageRequest,
                answer=Delivery,
                is_page=True,
            ),
        ),
    ),
)
