"""Bearer tokens of the customer."""

from typing import Annotated

from msgspec import Meta, Struct

from rotary.definitions import MANAGE_SCOPE
from rotary.management import tokens as model
from rotary.management.fields import NewToken
from rotary.management.revocation import enforce_revocation, mark_revoked
from rotary.postgres.connection import acquired
from rotary_campaigns.http import operations
from rotary_campaigns.http.operations import Call, Reply, Section
from rotary_campaigns.http.rows import lists, new_row_reply, reads
from rotary_campaigns.http.schemas import NewTokenShown, Token

MAX_OVERLAP_SECONDS = 30 * 86_400
_SECTION = Section("/api/management/tokens", "Tokens", MANAGE_SCOPE, "Token not found.")


class Rotation(Struct, frozen=True, forbid_unknown_fields=True):
    """How long the old token stays valid beside the new one."""

    overlap_seconds: Annotated[int, Meta(ge=0, le=MAX_OVERLAP_SECONDS)] = 86_400


async def create_token(call: Call) -> Reply:
    """A new token with its secret."""
    return _with_secret(*await model.create_token(call.connection, call.customer_id, call.body))


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
    return new_row_reply(_SECTION, NewTokenShown, row, token=bearer)


RESOURCES = (
    _SECTION.resource(
        "tokens",
        "",
        operations.page(
            name="listTokens",
            summary="List your tokens",
            description="Ascending by id, with the revoked and expired ones.",
            handler=lists(Token, model.find_tokens),
            answer=Token,
        ),
        operations.create(
            name="createToken",
            summary="Create a token",
            description="`token` is shown in this answer and never again. It is accepted within a second.",
            handler=create_token,
            body=NewToken,
            answer=NewTokenShown,
            shows_secret=True,
            failures=("Conflict",),
        ),
    ),
    _SECTION.resource(
        "token",
        "/{token_id}",
        operations.read(name="getToken", summary="Read a token", handler=reads(Token, model.read_token), answer=Token),
        operations.delete(
            name="revokeToken",
            summary="Revoke a token",
            description="For good. Answers once the API rejects it. Has the same answer when it is repeated.",
            handler=revoke_token,
        ),
    ),
    _SECTION.resource(
        "token_rotate",
        "/{token_id}/rotate",
        operations.create(
            name="rotateToken",
            summary="Rotate a token",
            description=(
                "Creates a token like this one and shows it once. The old one expires after `overlap_seconds`, so "
                "that you can change it everywhere before."
            ),
            handler=rotate_token,
            body=Rotation,
            answer=NewTokenShown,
            precondition="optional",
            shows_secret=True,
            failures=("Conflict",),
        ),
    ),
)
