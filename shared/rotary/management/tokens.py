"""Bearer tokens. Only the SHA-256 of a token is stored; `revocation` revokes one."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256

import asyncpg
from msgspec import UNSET, Struct

from rotary.bearer import new_token
from rotary.definitions import SCOPES
from rotary.management.errors import ConflictError, InvalidError, Violation
from rotary.management.fields import NewToken, given
from rotary.management.lookups import require_customer
from rotary.management.pages import Page, PageRequest, fetch_page, page
from rotary.management.rows import Target, change, insert, lock, missing
from rotary.management.statements import statement
from rotary.postgres.connection import Connection, translate_errors


class Token(Struct, frozen=True):
    """A stored token. A rate limit of None is unlimited; `expires_at` None is never."""

    id: int
    customer_id: int
    name: str
    scopes: list[str]
    rate_limit_per_minute: int | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    version: int


async def list_tokens(connection: Connection, customer_id: int | None = None) -> list[Token]:
    """All tokens or a customer's, ascending by id, with the revoked and expired ones. Raises NotFoundError."""
    if customer_id is not None:
        await require_customer(connection, customer_id)
    return await _read(connection, customer_id, None)


async def find_tokens(connection: Connection, customer_id: int, request: PageRequest) -> Page[Token]:
    """A page of a customer's tokens, ascending by id."""
    rows, total = await fetch_page(connection, "tokens", request, customer_id, None)
    return page([Token(*row) for row in rows], total, request)


async def read_token(connection: Connection, token_id: int, owner: int | None = None) -> Token:
    """One token. Raises NotFoundError, also for one that is not `owner`'s."""
    if tokens := await _read(connection, owner, token_id):
        return tokens[0]
    raise missing("api_tokens", token_id)


async def create_token(connection: Connection, customer_id: int, token: NewToken) -> tuple[Token, str]:
    """Creates a token; returns it and the bearer string, which cannot be read again.

    Raises NotFoundError for the customer and InvalidError for an unknown scope.
    """
    await require_customer(connection, customer_id)
    _check_scopes([] if token.scopes is UNSET else token.scopes)
    bearer = new_token()
    values = {"customer_id": customer_id, "token_sha256": sha256(bearer.encode()).digest()} | given(token)
    return await read_token(connection, await insert(connection, "api_tokens", values)), bearer


async def rotate_token(connection: Connection, target: Target, overlap_seconds: int) -> tuple[Token, str]:
    """Creates a token like this one, which expires after the overlap at the latest. Returns the new one and its bearer
    string.

    Raises NotFoundError, StaleError, and ConflictError for a token that is revoked or has expired.
    """
    row = await _lock(connection, target)
    now: datetime = await connection.fetchval(statement("now"))
    expires: datetime | None = row["expires_at"]
    if row["revoked_at"] is not None or (expires is not None and expires <= now):
        raise ConflictError(Violation("id", f"token {target.id} is revoked or has expired: create another"))
    new = NewToken(
        name=row["name"],
        scopes=row["scopes"],
        rate_limit_per_minute=row["rate_limit_per_minute"],
        expires_at=expires,
    )
    created = await create_token(connection, row["customer_id"], new)
    ends = now + timedelta(seconds=overlap_seconds)
    await change(connection, "api_tokens", target.id, {"expires_at": ends if expires is None else min(ends, expires)})
    return created


async def check_revocable(connection: Connection, target: Target) -> None:
    """Raises NotFoundError and StaleError."""
    await _lock(connection, target)


async def _lock(connection: Connection, target: Target) -> asyncpg.Record:
    """The row, locked. A token that a session of the console uses does not exist for whoever manages tokens."""
    row = await lock(connection, "api_tokens", target)
    if row["owner_session_id"] is not None:
        raise missing("api_tokens", target.id)
    return row


def _check_scopes(scopes: Sequence[str]) -> None:
    for index, scope in enumerate(scopes):
        if scope not in SCOPES:
            detail = f"unknown scope {scope}; expected one of {', '.join(SCOPES)}"
            raise InvalidError(Violation(f"scopes[{index}]", detail))


async def _read(connection: Connection, customer_id: int | None, token_id: int | None) -> list[Token]:
    with translate_errors(connection):
        rows = await connection.fetch(statement("tokens"), customer_id, token_id)
    return [Token(*row) for row in rows]
