"""`rotary-admin member`: which caller IDs are in which group."""

import re
from collections.abc import Iterable, Mapping, Sequence

import click
from msgspec import Struct

from rotary.postgres.connection import Connection
from rotary_admin.context import on_database, statement
from rotary.management.lookups import require_caller_ids, require_group
from rotary_admin.params import ROW_ID
from rotary_admin.output import print_object
from rotary.runtime.cli import confirm, json_option, yes_option

Weights = Mapping[int, int | None]
"""Caller IDs' ids to their weights; None keeps the weight a member has, and gives a new one 1."""


class MemberChanges(Struct, frozen=True):
    """What a group's membership needs to become as wanted: caller IDs' ids, ascending."""

    added: list[int]
    reweighted: list[int]
    removed: list[int]


class _WeightedId(click.ParamType[tuple[int, int | None]]):
    name = "ID[:WEIGHT]"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int | None]:
        """`18` or `18:3`."""
        form = re.fullmatch(r"(\d+)(?::(\d+))?", str(value), re.ASCII)
        if form is None:
            self.fail(f"{value!r} is not of the form 18 or 18:3 (a caller ID's id, its weight)", param, ctx)
        row_id, weight = int(form[1]), None if form[2] is None else int(form[2])
        if not 1 <= row_id < 2**63 or (weight is not None and not 1 <= weight < 2**31):
            self.fail(f"{value!r}: ids and weights are whole numbers from 1", param, ctx)
        return row_id, weight


_group_argument = click.argument("group_id", metavar="GROUP", type=ROW_ID)


@click.group()
def member() -> None:
    """Members of groups, by the ids of group and caller IDs."""


@member.command()
@_group_argument
@click.argument("wanted", metavar="ID[:WEIGHT]...", nargs=-1, required=True, type=_WeightedId())
@json_option
@on_database
async def add(
    connection: Connection, /, *, group_id: int, wanted: Sequence[tuple[int, int | None]], as_json: bool
) -> None:
    """Add caller IDs to a group, or give its members other weights."""
    owner = await _owner(connection, group_id, dict(wanted))
    changes = await member_changes(connection, owner, group_id, dict(wanted), exact=False)
    await apply_changes(connection, group_id, changes, dict(wanted))
    _report(group_id, changes, as_json=as_json)


@member.command()
@_group_argument
@click.argument("caller_ids", metavar="ID...", nargs=-1, required=True, type=ROW_ID)
@json_option
@on_database
async def remove(connection: Connection, /, *, group_id: int, caller_ids: Sequence[int], as_json: bool) -> None:
    """Remove caller IDs from a group; those that are no members are no error."""
    present = await _weights(connection, await _owner(connection, group_id, caller_ids), group_id)
    changes = MemberChanges([], [], sorted(present.keys() & set(caller_ids)))
    await apply_changes(connection, group_id, changes, {})
    _report(group_id, changes, as_json=as_json)


@member.command()
@_group_argument
@click.argument("wanted", metavar="[ID[:WEIGHT]]...", nargs=-1, type=_WeightedId())
@yes_option
@json_option
@on_database
async def sync(
    connection: Connection, /, *, group_id: int, wanted: Sequence[tuple[int, int | None]], yes: bool, as_json: bool
) -> None:
    """Make a group's members exactly these. Asks when that removes any."""
    owner = await _owner(connection, group_id, dict(wanted))
    changes = await member_changes(connection, owner, group_id, dict(wanted), exact=True)
    if changes.removed:
        confirm(f"Remove {len(changes.removed)} members from group {group_id}?", yes)
    await apply_changes(connection, group_id, changes, dict(wanted))
    _report(group_id, changes, as_json=as_json)


async def member_changes(
    connection: Connection, customer_id: int, group_id: int, wanted: Weights, *, exact: bool
) -> MemberChanges:
    """What to do so that the group has the wanted members, and with `exact` no others."""
    return changes_of(await _weights(connection, customer_id, group_id), wanted, exact=exact)


def changes_of(present: Mapping[int, int], wanted: Weights, *, exact: bool) -> MemberChanges:
    """The same, beside the members that are present with their weights."""
    return MemberChanges(
        sorted(wanted.keys() - present.keys()),
        sorted(row for row, weight in wanted.items() if weight is not None and present.get(row, weight) != weight),
        sorted(present.keys() - wanted.keys()) if exact else [],
    )


async def apply_changes(connection: Connection, group_id: int, changes: MemberChanges, wanted: Weights) -> None:
    """Adds and reweights in one statement, removes in another."""
    written = [*changes.added, *changes.reweighted]
    if written:
        await connection.execute(statement("write_members"), group_id, written, [wanted[row] for row in written])
    if changes.removed:
        await connection.execute(statement("remove_members"), group_id, changes.removed)


async def _owner(connection: Connection, group_id: int, caller_ids: Iterable[int]) -> int:
    """The group's customer. Raises Failure when there is no such group, or a caller ID is not its customer's."""
    customer_id = await require_group(connection, group_id)
    await require_caller_ids(connection, customer_id, list(caller_ids))
    return customer_id


async def _weights(connection: Connection, customer_id: int, group_id: int) -> dict[int, int]:
    rows = await connection.fetch(statement("members"), customer_id, group_id)
    return {row["caller_id_id"]: row["weight"] for row in rows}


def _report(group_id: int, changes: MemberChanges, *, as_json: bool) -> None:
    if as_json:
        print_object(changes)
        return
    counts = (("added", changes.added), ("reweighted", changes.reweighted), ("removed", changes.removed))
    told = ", ".join(f"{done} {len(rows)}" for done, rows in counts if rows)
    click.echo(f"group {group_id}: {told or 'nothing to change'}")
