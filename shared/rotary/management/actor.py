"""Who changes: what the audit log says of the changes that a connection makes."""

from rotary.management.statements import statement
from rotary.postgres.connection import Connection, translate_errors


async def act_as(connection: Connection, actor: str, *, whole_session: bool = False) -> None:
    """Names who makes the changes of this transaction, or of the whole session."""
    with translate_errors(connection):
        await connection.execute(statement("act_as"), actor, not whole_session)


async def act_as_token(connection: Connection, sha256_hex: str) -> bool:
    """Names a bearer token as the one who makes the changes of this transaction. False if it is not valid any more.

    The token stays as it is until the transaction ends.
    """
    with translate_errors(connection):
        return bool(await connection.fetchval(statement("act_as_token"), bytes.fromhex(sha256_hex)))
