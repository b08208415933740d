"""Reads for the projector: the change feed, and the contents of the documents. Every function takes one connection.

All raise UnavailableError if the server is away or has no tables yet. Reads inside one `async with
snapshot(connection)` are consistent with each other.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Literal

import asyncpg
import msgspec
import structlog
from msgspec import Struct

from rotary.definitions import CustomerDefinition, GroupDefinition, GroupSummary, MemberDefinition, TokenDefinition
from rotary.errors import UnavailableError
from rotary.policy import DEFAULT_POLICY, Policy
from rotary.postgres.connection import Connection, translate_errors
from rotary.postgres.statements import statement

CHANNEL = "rotary_definitions"
_PROJECTOR_LOCK = 0x726F7461_70726F6A  # "rotaproj"
_ROWS_AT_ONCE = 500
_GROUPS_IN_A_ROW = 10
"""A group of a thousand members takes a millisecond to decode, and a customer may have hundreds: others run between."""

_members = msgspec.json.Decoder(tuple[MemberDefinition, ...])
_policy = msgspec.json.Decoder(Policy)
_log = structlog.get_logger(__name__)

Entity = Literal["everything", "customer", "group", "caller_ids", "token", "nothing"]


class Change(Struct, frozen=True):
    """What to write again: read it, and delete the documents of what no longer exists.

    `id` is the feed's row; one row becomes several changes where a caller ID is in several groups.

    entity      customer_id  key
    everything  None         None                           all customers, all tokens
    customer    its id       None                           all its groups and the list of them
    group       its owner    int, the group's id            the group and its customer's list
    caller_ids  its owner    tuple of ids                   whether these are among the customer's caller IDs
    token       its owner    str, SHA-256 in lower-case hex the token
    nothing     its owner    None                           no document: the caller ID that changed is in no group
    """

    id: int
    entity: Entity
    customer_id: int | None
    key: int | str | tuple[int, ...] | None


@asynccontextmanager
async def snapshot(connection: Connection) -> AsyncIterator[None]:
    """A read-only transaction that sees the database as of its first statement."""
    with translate_errors(connection):
        transaction = connection.transaction(isolation="repeatable_read", readonly=True)
        await transaction.start()
        # Every read here can use an index. Before the tables' first ANALYZE the planner would instead scan all caller
        # IDs once per group, which takes hours after a large import.
        await connection.execute("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off")
    try:
        yield
    finally:
        if not connection.is_closed():
            with translate_errors(connection):
                await transaction.rollback()


async def try_lead(connection: Connection) -> bool:
    """Tries to make this connection the only projector, until it closes. Returns whether it is."""
    with translate_errors(connection):
        return bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", _PROJECTOR_LOCK))


async def listen(connection: Connection, callback: Callable[[], None]) -> None:
    """Calls `callback` on every committed change until the connection closes. It does not notice a dead connection."""

    def heard(*_: object) -> None:
        callback()

    with translate_errors(connection):
        await connection.add_listener(CHANNEL, heard)


async def read_changes(connection: Connection, limit: int = 1000) -> list[Change]:
    """The changes of the oldest `limit` rows of the feed, ascending by row."""
    with translate_errors(connection):
        rows = await connection.fetch(statement("read_changes"), limit)
    return [Change(row["id"], row["entity"], row["customer_id"], _key(row)) for row in rows]


def _key(row: asyncpg.Record) -> int | str | tuple[int, ...] | None:
    callers: list[int] | None = row["caller_id_ids"]
    return tuple(callers) if callers is not None else row["group_id"] or row["token_sha256"]


async def record_projected(connection: Connection, versions: Mapping[str, str], ids: Sequence[int] = ()) -> None:
    """Records the version that each part of Redis holds and deletes these rows of the feed, in one transaction."""
    with translate_errors(connection):
        async with connection.transaction():
            await connection.execute(statement("write_projected"), list(versions), list(versions.values()))
            await connection.execute(statement("delete_changes"), list(ids))


async def read_projected(connection: Connection) -> dict[str, str]:
    """The version that each part of Redis holds, by the name of the part's key."""
    with translate_errors(connection):
        return {row["part"]: row["version"] for row in await connection.fetch(statement("read_projected"))}


async def read_version(connection: Connection) -> str:
    """The version of all reads in the same snapshot: 40 hex digits, which compare in the order of the snapshots.

    Within `async with snapshot(connection)`, all reads have this version. Raises UnavailableError on a standby.
    """
    try:
        with translate_errors(connection):
            return str(await connection.fetchval(statement("read_version")))
    except asyncpg.ObjectNotInPrerequisiteStateError as error:
        raise UnavailableError("PostgreSQL at ROTARY_POSTGRES_URL is a standby") from error


async def request_resync(connection: Connection, above_epoch: int = 0) -> int:
    """Requests that all documents are written again, with an epoch above `above_epoch`. Returns that epoch."""
    with translate_errors(connection):
        async with connection.transaction():
            epoch = int(await connection.fetchval(statement("raise_epoch"), above_epoch))
            await connection.execute(statement("request_resync"))
    return epoch


async def customer_ids(connection: Connection) -> list[int]:
    """Every customer's id, ascending."""
    with translate_errors(connection):
        return [row["id"] for row in await connection.fetch(statement("customer_ids"))]


async def read_groups(
    connection: Connection, customer_id: int, group_ids: Sequence[int] | None = None
) -> list[GroupDefinition]:
    """The customer's groups with their members, ascending: all of them, or those of `group_ids` that exist."""
    wanted = None if group_ids is None else list(group_ids)
    with translate_errors(connection):
        rows = await connection.fetch(statement("read_groups"), customer_id, wanted)
    policy = read_stored_policy(rows[0]) if rows else DEFAULT_POLICY
    groups: list[GroupDefinition] = []
    for row in rows:
        groups.append(_group(row, policy))
        if not len(groups) % _GROUPS_IN_A_ROW:
            await asyncio.sleep(0)
    return groups


async def read_group_summaries(connection: Connection, customer_id: int) -> list[GroupSummary]:
    """The entries of the customer's list of groups, ascending; none for a customer that does not exist."""
    with translate_errors(connection):
        rows = await connection.fetch(statement("read_group_summaries"), customer_id)
    return [GroupSummary(*row) for row in rows]


async def read_tokens(connection: Connection, sha256_hex: Sequence[str] | None = None) -> dict[str, TokenDefinition]:
    """Tokens by the lower-case hex of their SHA-256: all, or those named. Includes expired tokens, not revoked ones."""
    wanted = None if sha256_hex is None else [bytes.fromhex(name) for name in sha256_hex]
    with translate_errors(connection):
        rows = await connection.fetch(statement("read_tokens"), wanted)
    return {
        row["token_sha256"]: TokenDefinition(
            row["id"], row["customer_id"], tuple(row["scopes"]), row["rate_limit_per_minute"], row["expires_at"]
        )
        for row in rows
    }


async def read_policy(connection: Connection, customer_id: int) -> Policy | None:
    """The customer's policy; None for a customer that does not exist."""
    with translate_errors(connection):
        row = await connection.fetchrow(statement("read_policy"), customer_id)
    return read_stored_policy(row) if row is not None else None


async def read_caller_ids(connection: Connection, customer_id: int, ids: Sequence[int] | None = None) -> list[int]:
    """The ids of the customer's caller IDs, ascending: all of them, or those of `ids` that are the customer's."""
    wanted = None if ids is None else list(ids)
    with translate_errors(connection):
        rows = await connection.fetch(statement("read_caller_ids"), customer_id, wanted)
    return [row["id"] for row in rows]


async def stream_customers(
    connection: Connection, customers: Sequence[int] | None = None
) -> AsyncGenerator[CustomerDefinition, None]:
    """Every customer, or those of `customers` that exist, ascending, each whole; holds one at a time.

    Needs a transaction: `async with snapshot(connection)`.
    """
    wanted = None if customers is None else list(customers)
    callers_of: tuple[int, list[int]] | None = None
    async with (
        aclosing(_stream_groups(connection, wanted)) as all_groups,
        aclosing(_stream_caller_ids(connection, wanted)) as all_callers,
    ):
        async for customer, policy, groups in all_groups:
            # Both ascend. Every caller ID has a customer, so the second never yields one that the first has passed.
            callers_of = callers_of or await anext(all_callers, None)
            if callers_of is not None and callers_of[0] == customer:
                yield CustomerDefinition(customer, policy, groups, callers_of[1])
                callers_of = None
            else:
                yield CustomerDefinition(customer, policy, groups, [])


async def _stream_groups(
    connection: Connection, customers: list[int] | None
) -> AsyncGenerator[tuple[int, Policy, list[GroupDefinition]], None]:
    customer, policy, groups = 0, DEFAULT_POLICY, list[GroupDefinition]()
    with translate_errors(connection):
        async for row in connection.cursor(statement("stream_groups"), customers, prefetch=_ROWS_AT_ONCE):
            if row["customer_id"] != customer:
                if customer:
                    yield customer, policy, groups
                customer, policy, groups = row["customer_id"], read_stored_policy(row), []
            if row["id"] is not None:
                groups.append(_group(row, policy))
                if not len(groups) % _GROUPS_IN_A_ROW:  # as in read_groups: the cursor yields most rows without waiting
                    await asyncio.sleep(0)
        if customer:
            yield customer, policy, groups


async def _stream_caller_ids(
    connection: Connection, customers: list[int] | None
) -> AsyncGenerator[tuple[int, list[int]], None]:
    with translate_errors(connection):
        async for row in connection.cursor(statement("stream_caller_ids"), customers, prefetch=_ROWS_AT_ONCE):
            yield row["customer_id"], row["ids"]


def read_stored_policy(row: asyncpg.Record) -> Policy:
    """The policy of a row with `customer_id` and `policy`, JSON text or null."""
    try:
        return _policy.decode(row["policy"]) if row["policy"] is not None else DEFAULT_POLICY
    except msgspec.ValidationError as error:
        # The table's CHECK refuses such a policy. If one exists, only its customer gets the default.
        _log.warning("invalid policy, using the default", customer_id=row["customer_id"], reason=str(error))
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
