"""What the projector reads: the change feed, and the documents' contents. Every function takes one connection.

All raise UnavailableError when the server is away or has no tables yet. To read several things that fit together, read
them inside `async with snapshot(connection)`.
"""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import asyncpg
import msgspec
from msgspec import Struct

from rotary.definitions import GroupDefinition, GroupSummary, MemberDefinition, TokenDefinition
from rotary.policy import DEFAULT_POLICY, Policy
from rotary.postgres.connection import Connection, answering
from rotary.postgres.statements import statement

CHANNEL = "rotary_definitions"
_PROJECTOR_LOCK = 0x726F7461_70726F6A  # "rotaproj"
_ROWS_AT_ONCE = 500

_members = msgspec.json.Decoder(tuple[MemberDefinition, ...])
_policy = msgspec.json.Decoder(Policy)
_log = logging.getLogger(__name__)

Entity = Literal["everything", "customer", "group", "token", "nothing"]


class Change(Struct, frozen=True):
    """What has to be written again: read it anew, and delete the document of what is not there any more.

    `id` is the feed's row; one row becomes several changes where a caller ID is in several groups.

    entity      customer_id  key
    everything  None         None                           all customers, all tokens
    customer    its id       None                           all its groups and the list of them
    group       its owner    int, the group's id            the group and its customer's list
    token       its owner    str, SHA-256 in lower-case hex the token
    nothing     its owner    None                           no document: a caller ID that is in no group changed
    """

    id: int
    entity: Entity
    customer_id: int | None
    key: int | str | None


@asynccontextmanager
async def snapshot(connection: Connection) -> AsyncIterator[None]:
    """A read-only transaction that sees the database as of its first statement."""
    with answering(connection):
        transaction = connection.transaction(isolation="repeatable_read", readonly=True)
        await transaction.start()
    try:
        yield
    finally:
        if not connection.is_closed():
            with answering(connection):
                await transaction.rollback()


async def try_lead(connection: Connection) -> bool:
    """Whether this connection is now the one projector; it stays so until it closes."""
    with answering(connection):
        return bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", _PROJECTOR_LOCK))


async def listen(connection: Connection, callback: Callable[[], None]) -> None:
    """Calls `callback` whenever changes are committed, until the connection closes, whose death it does not notice."""

    def heard(*_: object) -> None:
        callback()

    with answering(connection):
        await connection.add_listener(CHANNEL, heard)


async def read_changes(connection: Connection, limit: int = 1000) -> list[Change]:
    """The changes of the oldest `limit` rows of the feed, ascending by row."""
    with answering(connection):
        rows = await connection.fetch(statement("read_changes"), limit)
    return [
        Change(row["id"], row["entity"], row["customer_id"], row["group_id"] or row["token_sha256"]) for row in rows
    ]


async def delete_changes(connection: Connection, ids: Sequence[int]) -> None:
    """Forgets these rows of the feed: what they named has been written."""
    with answering(connection):
        await connection.execute(statement("delete_changes"), list(ids))


async def customer_ids(connection: Connection) -> list[int]:
    """Every customer's id, ascending."""
    with answering(connection):
        return [row["id"] for row in await connection.fetch(statement("customer_ids"))]


async def read_groups(
    connection: Connection, customer_id: int, group_ids: Sequence[int] | None = None
) -> list[GroupDefinition]:
    """The customer's groups with their members, ascending: all of them, or those of `group_ids` that exist."""
    wanted = None if group_ids is None else list(group_ids)
    with answering(connection):
        rows = await connection.fetch(statement("read_groups"), customer_id, wanted)
    policy = _read_policy(rows[0]) if rows else DEFAULT_POLICY
    return [_group(row, policy) for row in rows]


async def read_group_summaries(connection: Connection, customer_id: int) -> list[GroupSummary]:
    """The entries of the customer's list of groups, ascending; none for a customer that is not there."""
    with answering(connection):
        rows = await connection.fetch(statement("read_group_summaries"), customer_id)
    return [GroupSummary(*row) for row in rows]


async def read_tokens(connection: Connection, sha256_hex: Sequence[str] | None = None) -> dict[str, TokenDefinition]:
    """Tokens by the lower-case hex of their SHA-256: all, or those named. Expired ones are there, revoked ones not."""
    wanted = None if sha256_hex is None else [bytes.fromhex(name) for name in sha256_hex]
    with answering(connection):
        rows = await connection.fetch(statement("read_tokens"), wanted)
    return {
        row["token_sha256"]: TokenDefinition(
            row["id"], row["customer_id"], tuple(row["scopes"]), row["rate_limit_per_minute"], row["expires_at"]
        )
        for row in rows
    }


async def stream_customers(connection: Connection) -> AsyncIterator[tuple[int, list[GroupDefinition]]]:
    """Every customer, ascending, with all its groups; holds one customer's groups at a time.

    Needs a transaction: `async with snapshot(connection)`.
    """
    customer, policy, groups = 0, DEFAULT_POLICY, list[GroupDefinition]()
    with answering(connection):
        async for row in connection.cursor(statement("stream_groups"), prefetch=_ROWS_AT_ONCE):
            if row["customer_id"] != customer:
                if customer:
                    yield customer, groups
                customer, policy, groups = row["customer_id"], _read_policy(row), []
            if row["id"] is not None:
                groups.append(_group(row, policy))
        if customer:
            yield customer, groups


def _read_policy(row: asyncpg.Record) -> Policy:
    try:
        return _policy.decode(row["policy"]) if row["policy"] is not None else DEFAULT_POLICY
    except msgspec.ValidationError as error:
        # The table's CHECK should have refused it; a projector that stopped here would stop for every customer.
        _log.warning("customer %s: its policy is not usable, the default stands: %s", row["customer_id"], error)
        return DEFAULT_POLICY


def _group(row: asyncpg.Record, policy: Policy) -> GroupDefinition:
    members: Any = row["members"]  # JSON text; null for none
    return GroupDefinition(
        row["id"],
        row["name"],
        row["description"],
        row["rotation_strategy"],
        row["sticky_enabled"],
        row["status"],
        row["created_at"],
        row["timezone"],
        policy,
        _members.decode(members) if members is not None else (),
    )
