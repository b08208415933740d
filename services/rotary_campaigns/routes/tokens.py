"""Bearer tokens of the customer."""

from typing import Annotated

from msgspec import Meta, Struct

from rotary.definitions import MANAGE_SCOPE
from rotary.management import tokens as model
from rotary.management.fields import NewToken
from rotary.management.pages import PageRequest
from rotary.management.revocation import enforce_revocation, mark_revoked
from rotary.postgres.connection import acquired
from rotary_campaigns.http.operations import Call, Operation, Reply, Resource
from rotary_campaigns.http.schemas import NewTokenShown, Token, shown

PATH = "/api/management/tokens"
MAX_OVERLAP_SECONDS = 30 * 86_400
_TAG = "Tokens"
_MISSING = "Token not found."


class Rotation(Struct, frozen=True, forbid_unknown_fields=True):
    """How long the old token stays valid beside the new one."""

    overlap_seconds: Annotated[int, Meta(ge=0, le=MAX_OVERLAP_SECONDS)] = 86_400


async def list_tokens(call: Call) -> Reply:
    """A page of the customer's tokens."""
    page = await model.find_tokens(call.connection, call.customer_id, call.query)
    return Reply(page.map(lambda row: shown(Token, row)))


async def create_token(call: Call) -> Reply:
    """A new token with its secret."""
    return _with_secret(*await model.create_token(call.connection, call.customer_id, call.body))


async def read_token(call: Call) -> Reply:
    """One token."""
    row = await model.read_token(call.connection, call.row_id, call.customer_id)
    return Reply(shown(Token, row), row.version)


async def rotate_token(call: Call) -> Reply:
    """A successor with its secret."""
    return _with_secret(*await model.rotate_token(call.connection, call.target, call.body.overlap_seconds))


async def revoke_token(call: Call) -> Reply:
    """Revokes it; the answer waits until the API rejects it."""
    await model.check_revocable(call.connection, call.target)
    await mark_revoked(call.connection, call.row_id)

    async def enforce() -> None:
        async with acquired(call.parts.database.pool) as connection:
            await enforce_revocation(connection, call.parts.settings.redis_url, call.row_id)

    return Reply(then=enforce)


def _with_secret(row: model.Token, bearer: str) -> Reply:
    return Reply(shown(NewTokenShown, row, token=bearer), row.version, f"{PATH}/{row.id}")


RESOURCES = (
    Resource(
        "tokens",
        PATH,
        _TAG,
        MANAGE_SCOPE,
        _MISSING,
        (
            Operation(
                method="GET",
                name="listTokens",
                summary="List your tokens",
                description="Ascending by id, with the revoked and expired ones.",
                handler=list_tokens,
                query=PageRequest,
                answer=Token,
                is_page=True,
            ),
            Operation(
                method="POST",
                name="createToken",
                summary="Create a token",
                description="`token` is shown in this answer and never again. It is accepted within a second.",
                handler=create_token,
                body=NewToken,
                answer=NewTokenShown,
                status=201,
                is_idempotent=True,
                shows_secret=True,
                failures=("Conflict",),
            ),
        ),
    ),
    Resource(
        "token",
        PATH + "/{token_id}",
        _TAG,
        MANAGE_SCOPE,
        _MISSING,
        (
            Operation(method="GET", name="getToken", summary="Read a token", handler=read_token, answer=Token),
            Operation(
                method="DELETE",
                name="revokeToken",
                summary="Revoke a token",
                description="For good. Answers once the API rejects it. Has the same answer when it is repeated.",
                handler=revoke_token,
                status=204,
                precondition="optional",
            ),
        ),
    ),
    Resource(
        "token_rotate",
        PATH + "/{token_id}/rotate",
        _TAG,
        MANAGE_SCOPE,
        _MISSING,
        (
            Operation(
                method="POST",
                name="rotateToken",
                summary="Rotate a token",
                description=(
                    "Creates a token like this one and shows it once. The old one expires after `overlap_seconds`, so "
                    "that you can change it everywhere before."
                ),
                handler=rotate_token,
                body=Rotation,
                answer=NewTokenShown,
                status=201,
                precondition="optional",
                is_idempotent=True,
                shows_secret=True,
                failures=("Conflict",),
            ),
        ),
    ),
)
