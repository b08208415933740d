"""Members of groups: a change is planned first, so that it can be shown or confirmed, and then applied."""

from collections.abc import Collection, Mapping, Sequence
from hashlib import blake2b

import msgspec
from msgspec import Struct

from rotary.management.constraints import translate_refusals
from rotary.management.errors import StaleError, Violation
from rotary.management.lookups import require_caller_ids, require_group
from rotary.management.rows import Target, lock
from rotary.management.statements import statement
from rotary.postgres.connection import Connection, translate_errors

Weights = Mapping[int, int | None]
"""Ids of caller IDs to weights. None keeps a member's weight; a new member gets 1."""


class MemberChanges(Struct, frozen=True):
    """How a group's members change: ids of caller IDs, each list ascending."""

    added: list[int]
    reweighted: list[int]
    removed: list[int]


class Membership(Struct, frozen=True):
    """One caller ID in one group."""

    group_id: int
    caller_id: int
    weight: int
    number: str


class MemberPlan(Struct, frozen=True):
    """Planned changes of one group. `weights` has an entry for every caller ID that is added or reweighted."""

    group_id: int
    changes: MemberChanges
    weights: Weights


class Members(Struct, frozen=True):
    """A group's members, ascending by caller ID. `digest` differs whenever they do."""

    members: list[Membership]
    digest: str


async def read_members(connection: Connection, group_id: int, owner: int | None = None) -> Members:
    """The members of a group. Raises NotFoundError, also for one that is not `owner`'s."""
    await require_group(connection, group_id, owner)
    members = await read_memberships(connection, [group_id])
    listed = [(member.caller_id, member.weight) for member in members]
    return Members(members, blake2b(msgspec.json.encode(listed), digest_size=8).hexdigest())


async def sync_members(
    connection: Connection, group_id: int, weights: Weights, *, owner: int, digests: frozenset[str] | None
) -> MemberChanges:
    """Makes these the group's only members. `digests`: only if its members are still those that were read with
    one of these.

    Nobody else changes the group's members until the transaction ends. Raises NotFoundError for the group and for a
    caller ID that is not its customer's, and StaleError.
    """
    await lock(connection, "caller_id_groups", Target(group_id, owner))
    present = await read_members(connection, group_id, owner)
    if digests is not None and present.digest not in digests:
        raise StaleError(Violation("members", f"the members of group {group_id} have changed since they were read"))
    plan = await plan_members(connection, group_id, weights, exact=True)
    await apply_plan(connection, plan)
    return plan.changes


async def plan_members(connection: Connection, group_id: int, weights: Weights, *, exact: bool) -> MemberPlan:
    """Plans for the group to have these members, and with `exact` no others.

    Raises NotFoundError if the group does not exist, or a caller ID is not its customer's.
    """
    present = await _present(connection, group_id, weights)
    return MemberPlan(group_id, changes_between(present, weights, exact=exact), weights)


async def plan_removal(connection: Connection, group_id: int, caller_ids: Collection[int]) -> MemberPlan:
    """Plans for the group to be without these caller IDs. Those that are not members are ignored. Raises likewise."""
    present = await _present(connection, group_id, caller_ids)
    return MemberPlan(group_id, MemberChanges([], [], sorted(present.keys() & set(caller_ids))), {})


async def apply_plan(connection: Connection, plan: MemberPlan) -> None:
    """Writes what was planned."""
    changes = plan.changes
    await write_memberships(
        connection, [(plan.group_id, row, plan.weights[row]) for row in (*changes.added, *changes.reweighted)]
    )
    await remove_memberships(connection, [(plan.group_id, row) for row in changes.removed])


def changes_between(present: Mapping[int, int], weights: Weights, *, exact: bool) -> MemberChanges:
    """What turns members that are present, with their weights, into those wanted; `exact` removes all others."""
    return MemberChanges(
        sorted(weights.keys() - present.keys()),
        sorted(row for row, weight in weights.items() if weight is not None and present.get(row, weight) != weight),
        sorted(present.keys() - weights.keys()) if exact else [],
    )


async def read_memberships(connection: Connection, group_ids: Sequence[int]) -> list[Membership]:
    """The members of these groups, ascending by group and caller ID."""
    with translate_errors(connection):
        rows = await connection.fetch(statement("memberships"), list(group_ids))
    return [Membership(*row) for row in rows]


async def write_memberships(connection: Connection, rows: Sequence[tuple[int, int, int | None]]) -> None:
    """Adds or reweights (group, caller ID, weight) in one statement, so that the change feed has one row per group.

    None is the weight 1.
    """
    await _execute(connection, "write_memberships", rows)


async def remove_memberships(connection: Connection, rows: Sequence[tuple[int, int]]) -> None:
    """Removes (group, caller ID) in one statement."""
    await _execute(connection, "remove_memberships", rows)


async def _execute(connection: Connection, name: str, rows: Sequence[tuple[object, ...]]) -> None:
    if rows:
        with translate_errors(connection), translate_refusals():
            await connection.execute(statement(name), *map(list, zip(*rows, strict=True)))


async def _present(connection: Connection, group_id: int, caller_ids: Collection[int]) -> dict[int, int]:
    """The weights of a group's members, after checking the group and the caller IDs."""
    customer_id = await require_group(connection, group_id)
    await require_caller_ids(connection, customer_id, list(caller_ids))
    return {row.caller_id: row.weight for row in await read_memberships(connection, [group_id])}
