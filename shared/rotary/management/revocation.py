"""Revoking tokens: in PostgreSQL, and in the same call in Redis, so that the API rejects the token on return."""

import asyncio
import time
from contextlib import aclosing

from rotary.definitions import TokenDefinition
from rotary.errors import RotaryError, UnavailableError
from rotary.management.statements import statement
from rotary.postgres import store
from rotary.postgres.connection import Connection, translate_errors
from rotary.redis.connection import connect
from rotary.redis.definition_writer import DefinitionWriter

RETRY_SECONDS = 5.0
ANSWER_SECONDS = 2.0
_PAUSE_SECONDS = 0.2


class StillAcceptedError(RotaryError):
    """A token is revoked in PostgreSQL, but not in Redis, so the API still accepts it.

    `code` is redis_away or redis_newer; `detail` says why and what to do.
    """

    def __init__(self, code: str, token_id: int, detail: str) -> None:
        super().__init__(f"token {token_id} is revoked in PostgreSQL, but the API still accepts it: {detail}")
        self.code = code
        self.detail = detail


async def revoke_token(connection: Connection, redis_url: str, token_id: int) -> None:
    """Revokes a token for good; returns once the API rejects it. Repeat it after an error: it continues.

    `connection` must not be in a transaction. Raises StillAcceptedError.
    """
    await mark_revoked(connection, token_id)
    await enforce_revocation(connection, redis_url, token_id)


async def mark_revoked(connection: Connection, token_id: int) -> None:
    """Revokes a token in PostgreSQL. Once that is committed, `enforce_revocation` makes the API reject it."""
    with translate_errors(connection):
        await connection.execute(statement("revoke_token"), token_id)


async def enforce_revocation(connection: Connection, redis_url: str, token_id: int) -> None:
    """Has the API reject a token whose revocation is committed. Raises StillAcceptedError."""
    # This snapshot begins after the commit, so its version and every later one contain the revocation.
    async with store.snapshot(connection):
        version = await store.read_version(connection)
        sha256_hex = str(await connection.fetchval(statement("token_sha256"), token_id))
    try:
        accepted = await _write_revocation(redis_url, version, sha256_hex)
    except UnavailableError as error:
        detail = f"{error.what.rstrip('.')}; run this command again, or start a consumer, once Redis answers"
        raise StillAcceptedError("redis_away", token_id, detail) from error
    if accepted is not None:
        detail = (
            "Redis holds newer definitions; "
            "if PostgreSQL was restored, run rotary-admin definitions resync with a consumer running"
        )
        raise StillAcceptedError("redis_newer", token_id, detail)


async def _write_revocation(redis_url: str, version: str, sha256_hex: str) -> TokenDefinition | None:
    """Writes the revocation as of `version`. Returns the token that Redis holds afterwards, None once it is revoked.

    Retries for five seconds. Raises UnavailableError.
    """
    deadline = time.monotonic() + RETRY_SECONDS
    async with aclosing(connect(redis_url, timeout_seconds=ANSWER_SECONDS)) as client:
        writer = DefinitionWriter(client)
        while True:
            try:
                return await writer.put_token(version, sha256_hex, None)
            except UnavailableError:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(_PAUSE_SECONDS)
