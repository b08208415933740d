"""Idempotency keys: a request that is sent again gets the answer that it got, and changes nothing.

The key is claimed in the transaction of the change, so there is an answer exactly if the change was committed. A second
request with the same key waits for the first one's transaction.
"""

from typing import Annotated

from msgspec import Meta, Struct

from rotary.management.errors import KeyReusedError, Violation
from rotary.management.statements import statement
from rotary.postgres.connection import Connection, translate_errors

KEY_HOURS = 24
MAX_KEY = 255
Key = Annotated[str, Meta(min_length=1, max_length=MAX_KEY, pattern=r"\A[\x20-\x7e]+\Z")]


class StoredAnswer(Struct, frozen=True):
    """What a request was answered: a status and a body, and the ETag and the Location if it had any."""

    status: int
    body: bytes
    etag: str
    location: str


async def claim(connection: Connection, customer_id: int, key: str, request_sha256: bytes) -> StoredAnswer | None:
    """Claims a key of a customer's for a request. Returns the answer if this request was answered before.

    Raises KeyReusedError if the key belongs to another request of the last 24 hours.
    """
    with translate_errors(connection):
        if await connection.fetchval(statement("claim_key"), customer_id, key, request_sha256, KEY_HOURS):
            return None
        row = await connection.fetchrow(statement("read_key"), customer_id, key)
    if row is None or row["request_sha256"] != request_sha256:
        detail = "This idempotency key was used for another request."
        raise KeyReusedError(Violation("Idempotency-Key", detail))
    return StoredAnswer(row["status"], row["body"], row["etag"], row["location"])


async def keep(connection: Connection, customer_id: int, key: str, answer: StoredAnswer) -> None:
    """Keeps the answer under a key that this transaction has claimed."""
    with translate_errors(connection):
        await connection.execute(
            statement("keep_answer"), customer_id, key, answer.status, answer.body, answer.etag, answer.location
        )


async def forget_old(connection: Connection) -> None:
    """Deletes the keys whose time is over."""
    with translate_errors(connection):
        await connection.execute(statement("forget_keys"), KEY_HOURS)
