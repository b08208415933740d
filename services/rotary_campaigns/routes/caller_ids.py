"""Caller IDs."""

from rotary.definitions import MANAGE_SCOPE
from rotary.management import caller_ids as model
from rotary.management.cooldown import clear_cooldown
from rotary.management.fields import CallerIdFields, ClearFields, NewCallerId
from rotary.management.pages import PageNumber, PerPage
from rotary.publisher import Limits
from rotary_campaigns.http.operations import Call, Operation, Reply, Resource
from rotary_campaigns.http.schemas import CallerId, shown

PATH = "/api/management/caller-ids"
SOURCE = "/rotary-campaigns"
_TAG = "Caller IDs"
_MISSING = "Caller ID not found."
_LIMITS = Limits(deadline_seconds=5)


class CallerIdQuery(model.CallerIdFilter, frozen=True, forbid_unknown_fields=True):
    """Which caller IDs, and which part of the list."""

    page: PageNumber = 1
    per_page: PerPage = 50


async def list_caller_ids(call: Call) -> Reply:
    """A page of the customer's caller IDs."""
    page = await model.find_caller_ids(call.connection, call.customer_id, call.query, call.query)
    return Reply(page.map(lambda row: shown(CallerId, row)))


async def create_caller_id(call: Call) -> Reply:
    """A new caller ID."""
    return _reply(await model.create_caller_id(call.connection, call.customer_id, call.body), is_new=True)


async def read_caller_id(call: Call) -> Reply:
    """One caller ID."""
    return _reply(await model.read_caller_id(call.connection, call.row_id, call.customer_id))


async def update_caller_id(call: Call) -> Reply:
    """Changes the given fields."""
    return _reply(await model.update_caller_id(call.connection, call.target, call.body))


async def enable(call: Call) -> Reply:
    """Makes it active."""
    return _reply(await model.update_caller_id(call.connection, call.target, CallerIdFields(status="active")))


async def disable(call: Call) -> Reply:
    """Makes it disabled."""
    return _reply(await model.update_caller_id(call.connection, call.target, CallerIdFields(status="disabled")))


async def delete_caller_id(call: Call) -> Reply:
    """Deletes it."""
    await model.delete_caller_id(call.connection, call.target)
    return Reply()


async def clear(call: Call) -> Reply:
    """Ends its cooldown."""
    await model.read_caller_id(call.connection, call.row_id, call.customer_id)
    url, reason = call.parts.settings.rabbitmq_url, None if call.body is None else call.body.reason
    await clear_cooldown(call.connection, url, call.customer_id, [call.row_id], SOURCE, _LIMITS, reason)
    return Reply()


def _reply(row: model.CallerId, *, is_new: bool = False) -> Reply:
    return Reply(shown(CallerId, row), row.version, f"{PATH}/{row.id}" if is_new else "")


RESOURCES = (
    Resource(
        "caller_ids",
        PATH,
        _TAG,
        MANAGE_SCOPE,
        _MISSING,
        (
            Operation(
                method="GET",
                name="listCallerIds",
                summary="List or search your caller IDs",
                description="Ascending by id.",
                handler=list_caller_ids,
                query=CallerIdQuery,
                answer=CallerId,
                is_page=True,
            ),
            Operation(
                method="POST",
                name="createCallerId",
                summary="Create a caller ID",
                description=(
                    "Without a carrier it gets the one to which its number's range was given. That is stored, and "
                    "stays as it is: numbers are ported."
                ),
                handler=create_caller_id,
                body=NewCallerId,
                answer=CallerId,
                status=201,
                is_idempotent=True,
                failures=("Conflict",),
            ),
        ),
    ),
    Resource(
        "caller_id",
        PATH + "/{caller_id_id}",
        _TAG,
        MANAGE_SCOPE,
        _MISSING,
        (
            Operation(
                method="GET",
                name="getCallerId",
                summary="Read a caller ID",
                handler=read_caller_id,
                answer=CallerId,
            ),
            Operation(
                method="PUT",
                name="updateCallerId",
                summary="Change a caller ID",
                description="Fields that are absent keep their value.",
                handler=update_caller_id,
                body=CallerIdFields,
                answer=CallerId,
                precondition="required",
                failures=("Conflict",),
            ),
            Operation(
                method="DELETE",
                name="deleteCallerId",
                summary="Delete a caller ID",
                description="It leaves every group. To keep its history visible, disable it instead.",
                handler=delete_caller_id,
                status=204,
                precondition="optional",
            ),
        ),
    ),
    *(
        Resource(
            f"caller_id_{verb}",
            PATH + "/{caller_id_id}/" + verb,
            _TAG,
            MANAGE_SCOPE,
            _MISSING,
            (
                Operation(
                    method="POST",
                    name=f"{verb}CallerId",
                    summary=f"{verb.capitalize()} a caller ID",
                    description="Has the same answer when it is repeated.",
                    handler=handler,
                    answer=CallerId,
                    precondition="optional",
                ),
            ),
        )
        for verb, handler in (("enable", enable), ("disable", disable))
    ),
    Resource(
        "caller_id_clear_cooldown",
        PATH + "/{caller_id_id}/clear-cooldown",
        _TAG,
        MANAGE_SCOPE,
        _MISSING,
        (
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
    ),
)
