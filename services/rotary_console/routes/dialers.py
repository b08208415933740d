"""Dialers' users on the broker: the same functions as `rotary-admin dialer`, for one customer's."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated
from urllib.parse import unquote, urlsplit

import structlog
from msgspec import Meta, Struct

from rotary.errors import RotaryError
from rotary.http.errors import Refusal
from rotary.http.responses import failure
from rotary.management import dialers as model
from rotary.management.dialers import MAX_CHANNELS, MAX_CONNECTIONS, NAME
from rotary.management.errors import RefusedError
from rotary.management.statements import statement
from rotary.rabbitmq.management import Management, UserLimits, open_management
from rotary_console.http.operations import NOTHING, Answer, Call, Endpoint, Operation, data
from rotary_console.http.refusals import BROKER_UNUSABLE
from rotary_console.routes.customers import CUSTOMER

_NOT_SET = failure(501, "This installation does not manage dialers here: ROTARY_MANAGEMENT_URL is not set.")
_NO_DIALER = failure(404, "Dialer not found.")
_Limit = Annotated[int, Meta(ge=1, le=10_000)]
_log = structlog.get_logger("rotary_console")


class NewDialer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A dialer's user to create."""

    name: Annotated[
        str,
        Meta(pattern=rf"\A{NAME}\Z", description="up to 63 of a-z 0-9 . _ - beginning with a letter or digit"),
    ]
    max_connections: _Limit = MAX_CONNECTIONS
    max_channels: _Limit = MAX_CHANNELS


async def list_dialers(call: Call) -> Answer:
    """The customer's dialers."""
    async with _management(call) as management:
        return data(await model.list_dialers(management, call.customer_id))


async def create_dialer(call: Call) -> Answer:
    """A new dialer's user, with a password that is shown this once."""
    limits = UserLimits(call.body.max_connections, call.body.max_channels)
    async with _management(call) as management, _recorded(call, call.body.name, "create"):
        access = await model.create_dialer(management, call.body.name, call.customer_id, limits)
    return data(access, 201)


async def rotate_dialer(call: Call) -> Answer:
    """Another password, which is shown this once; the dialer's connections are closed."""
    async with _management(call) as management, _recorded(call, _name(call), "rotate"):
        access = await model.rotate_dialer(management, call.name, call.customer_id)
    return data(access)


async def revoke_dialer(call: Call) -> Answer:
    """Deletes the dialer's user."""
    async with _management(call) as management, _recorded(call, _name(call), "revoke"):
        await model.revoke_dialer(management, call.name, call.customer_id)
    return NOTHING


def _name(call: Call) -> str:
    if not re.fullmatch(NAME, call.name):
        raise Refusal(_NO_DIALER)
    return call.name


@asynccontextmanager
async def _management(call: Call) -> AsyncIterator[Management]:
    """The broker's management API. Raises Refusal if there is none, or it can't be used."""
    settings = call.parts.settings
    if not settings.management_url:
        raise Refusal(_NOT_SET)
    vhost = unquote(urlsplit(settings.rabbitmq_url).path.removeprefix("/")) or "/"
    try:
        async with open_management(settings.management_url, vhost, settings.ca_file) as management:
            yield management
    except RefusedError:
        raise
    except RotaryError as error:  # why is for the operator to know
        _log.warning("the broker's management API can't be used", reason=str(error))
        raise Refusal(BROKER_UNUSABLE) from error


@asynccontextmanager
async def _recorded(call: Call, name: str, change: str) -> AsyncIterator[None]:
    """Puts on record who did it: the broker's users are in no table.

    The record is written first and kept if the change succeeds: what can't be recorded is not done.
    """
    async with call.parts.database.changing(call.user.actor) as connection:
        await connection.execute(statement("record_dialer_change"), call.customer_id, name, change)
        yield


ENDPOINTS = (
    Endpoint(
        f"{CUSTOMER}/dialers",
        (
            Operation(method="GET", handler=list_dialers, role="admin"),
            Operation(method="POST", handler=create_dialer, role="admin", body=NewDialer),
        ),
    ),
    Endpoint(f"{CUSTOMER}/dialers/{{dialer}}", (Operation(method="DELETE", handler=revoke_dialer, role="admin"),)),
    Endpoint(f"{CUSTOMER}/dialers/{{dialer}}/rotate", (Operation(method="POST", handler=rotate_dialer, role="admin"),)),
)
