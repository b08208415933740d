"""`rotary-admin member`."""

import re
from collections.abc import Sequence

import click

from rotary.management.members import MemberPlan, apply_plan, plan_members, plan_removal
from rotary.postgres.connection import Connection
from rotary.runtime.cli import confirm, json_option, yes_option
from rotary_admin.context import with_database
from rotary_admin.output import print_object
from rotary_admin.params import ROW_ID

WeightedId = tuple[int, int | None]


class _WeightedIdParam(click.ParamType[WeightedId]):
    name = "ID[:WEIGHT]"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> WeightedId:
        """Parses `18` or `18:3`."""
        parts = re.fullmatch(r"(\d+)(?::(\d+))?", str(value), re.ASCII)
        if parts is None:
            self.fail(f"{value!r} is invalid; expected ID or ID:WEIGHT, such as 18 or 18:3", param, ctx)
        row_id, weight = int(parts[1]), None if parts[2] is None else int(parts[2])
        if not 1 <= row_id < 2**63 or (weight is not None and not 1 <= weight < 2**31):
            self.fail(f"{value!r} is invalid; ids and weights are whole numbers from 1", param, ctx)
        return row_id, weight


_group_argument = click.argument("group_id", metavar="GROUP", type=ROW_ID)


@click.group()
def member() -> None:
    """Manage the members of groups. GROUP and ID are the ids of a group and of caller IDs."""


@member.command()
@_group_argument
@click.argument("weights", metavar="ID[:WEIGHT]...", nargs=-1, required=True, type=_WeightedIdParam())
@json_option
@with_database
async def add(connection: Connection, /, *, group_id: int, weights: Sequence[WeightedId], as_json: bool) -> None:
    """Add caller IDs to a group, or change the weights of its members."""
    plan = await plan_members(connection, group_id, dict(weights), exact=False)
    await apply_plan(connection, plan)
    _print(plan, as_json=as_json)


@member.command()
@_group_argument
@click.argument("caller_ids", metavar="ID...", nargs=-1, required=True, type=ROW_ID)
@json_option
@with_database
async def remove(connection: Connection, /, *, group_id: int, caller_ids: Sequence[int], as_json: bool) -> None:
    """Remove caller IDs from a group. Ignores those that are not members."""
    plan = await plan_removal(connection, group_id, caller_ids)
    await apply_plan(connection, plan)
    _print(plan, as_json=as_json)


@member.command()
@_group_argument
@click.argument("weights", metavar="[ID[:WEIGHT]]...", nargs=-1, type=_WeightedIdParam())
@yes_option
@json_option
@with_database
async def sync(
    connection: Connection, /, *, group_id: int, weights: Sequence[WeightedId], yes: bool, as_json: bool
) -> None:
    """Make these caller IDs a group's only members. Asks before it removes any."""
    plan = await plan_members(connection, group_id, dict(weights), exact=True)
    if plan.changes.removed:
        confirm(f"Remove {len(plan.changes.removed)} members from group {group_id}?", yes)
    await apply_plan(connection, plan)
    _print(plan, as_json=as_json)


def _print(plan: MemberPlan, *, as_json: bool) -> None:
    changes = plan.changes
    if as_json:
        print_object(changes)
        return
    counts = (("added", changes.added), ("reweighted", changes.reweighted), ("removed", changes.removed))
    summary = ", ".join(f"{done} {len(rows)}" for done, rows in counts if rows)
    click.echo(f"group {plan.group_id}: {summary or 'nothing to change'}")
