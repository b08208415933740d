"""Caller IDs."""

from rotary.definitions import MANAGE_SCOPE
from rotary.management import caller_ids as model
from rotary.management.cooldown import clear_cooldown
from rotary.management.fields import CallerIdFields, ClearFields, NewCallerId
from rotary.management.pages import PageNumber, PerPage
from rotary.publisher import Limits
from rotary_campaigns.http import operations
from rotary_campaigns.http.operations import Call, Operation, Reply, Section
from rotary_campaigns.http.rows import creates, deletes, reads, searches, switches, updates
from rotary_campaigns.http.schemas import CallerId

SOURCE = "/rotary-campaigns"
_LIMITS = Limits(deadline_seconds=5)
_SECTION = Section("/api/management/caller-ids", "Caller IDs", MANAGE_SCOPE, "Caller ID not found.")


class CallerIdQuery(model.CallerIdFilter, frozen=True, forbid_unknown_fields=True):
    """Which caller IDs, and which part of the list."""

    page: PageNumber = 1
    per_page: PerPage = 50


async def clear(call: Call) -> Reply:
    """Ends its cooldown."""
    await model.read_caller_id(call.connection, call.row_id, call.customer_id)
    url, reason = call.parts.settings.rabbitmq_url, None if call.body is None else call.body.reason
    await clear_cooldown(call.connection, url, call.customer_id, [call.row_id], SOURCE, _LIMITS, reason)
    return Reply()


RESOURCES = (
    _SECTION.resource(
        "caller_ids",
        "",
        operations.page(
            name="listCallerIds",
            summary="List or search your caller IDs",
            description="Ascending by id.",
            handler=searches(CallerId, model.find_caller_ids),
            query=CallerIdQuery,
            answer=CallerId,
        ),
        operations.create(
            name="createCallerId",
            summary="Create a caller ID",
            description=(
                "Without a carrier it gets the one to which its number's range was given. That is stored, and "
                "stays as it is: numbers are ported."
            ),
            handler=creates(_SECTION, CallerId, model.create_caller_id),
            body=NewCallerId,
            answer=CallerId,
            failures=("Conflict",),
        ),
    ),
    _SECTION.resource(
        "caller_id",
        "/{caller_id_id}",
        operations.read(
            name="getCallerId",
            summary="Read a caller ID",
            handler=reads(CallerId, model.read_caller_id),
            answer=CallerId,
        ),
        operations.update(
            name="updateCallerId",
            summary="Change a caller ID",
            description="Fields that are absent keep their value.",
            handler=updates(CallerId, model.update_caller_id),
            body=CallerIdFields,
            answer=CallerId,
            failures=("Conflict",),
        ),
        operations.delete(
            name="deleteCallerId",
            summary="Delete a caller ID",
            description="It leaves every group. To keep its history visible, disable it instead.",
            handler=deletes(model.delete_caller_id),
        ),
    ),
    *switches(
        _SECTION,
        "caller_id",
        "/{caller_id_id}",
        "caller ID",
        CallerId,
        enable=updates(CallerId, model.update_caller_id, CallerIdFields(status="active")),
        disable=updates(CallerId, model.update_caller_id, CallerIdFields(status="disabled")),
    ),
    _SECTION.resource(
        "caller_id_clear_cooldown",
        "/{caller_id_id}/clear-cooldown",
        Operation(
            method="POST",
            name="clearCooldown",
            summary="End a caller ID's cooldown",
            description=(
                "Publishes `cooldown-cleared`; answers once the broker has stored it. The flags still lower the "
                "caller ID's health. The body may say why, for the audit log; it may be empty."
            ),
            handler=clear,
            body=ClearFields,
            is_body_optional=True,
            status=204,
        ),
    ),
)
