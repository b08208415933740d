"""`rotary-admin group`."""

import click
from msgspec import Struct
from msgspec.structs import asdict

from rotary.definitions import GroupDefinition, GroupSummary, MemberDefinition
from rotary.management import groups
from rotary.management.fields import GroupFields, NewGroup
from rotary.postgres.connection import Connection
from rotary.runtime.cli import confirm, json_option, yes_option
from rotary_admin.context import with_database
from rotary_admin.output import print_fields, print_object, print_rows
from rotary_admin.params import (
    ROW_ID,
    STATUSES,
    STRATEGIES,
    Decorator,
    customer_option,
    fields_from,
    options,
    require_changes,
)

_OWN_FIELDS = ("id", "name", "description", "rotation_strategy", "sticky_enabled", "status", "created_at", "timezone")


class _Member(Struct, frozen=True):
    id: int
    number: str
    display_name: str | None
    carrier: str
    status: str
    trunk_name: str | None
    daily_cap: int
    weight: int


class _Summary(Struct, frozen=True):
    id: int
    name: str
    rotation_strategy: str
    sticky_enabled: bool
    status: str
    caller_ids_count: int


def _field_options(*, new: bool) -> Decorator:
    return options(
        click.option("--name", required=new),
        click.option("--strategy", "rotation_strategy", type=STRATEGIES, required=new),
        click.option("--description", help="" if new else 'Pass "" to clear.'),
        click.option("--sticky/--not-sticky", "sticky_enabled", default=None),
        click.option("--status", type=STATUSES),
    )


_id_argument = click.argument("group_id", metavar="ID", type=ROW_ID)


@click.group()
def group() -> None:
    """Manage groups: the caller IDs that a campaign rotates over."""


@group.command("list")
@customer_option
@json_option
@with_database
async def list_groups(connection: Connection, /, *, customer_id: int, as_json: bool) -> None:
    """List a customer's groups. CALLER IDS COUNT is the number of active members."""
    rows = [_summary(each) for each in await groups.list_groups(connection, customer_id)]
    print_rows(rows, _Summary, as_json=as_json, empty=f"customer {customer_id} has no groups")


@group.command()
@_id_argument
@json_option
@with_database
async def show(connection: Connection, /, *, group_id: int, as_json: bool) -> None:
    """Show a group and its members."""
    found = await groups.read_group(connection, group_id)
    if as_json:
        _print_json(found)
        return
    print_fields(found, _OWN_FIELDS)
    click.echo()
    empty = "no members: add some with rotary-admin member add"
    print_rows(_members(found), _Member, as_json=False, empty=empty)


@group.command()
@customer_option
@_field_options(new=True)
@json_option
@with_database
async def create(connection: Connection, /, *, customer_id: int, as_json: bool, **fields: object) -> None:
    """Create a group without members."""
    new = fields_from(NewGroup, fields)
    _print(await groups.create_group(connection, customer_id, new), "created", as_json=as_json)


@group.command()
@_id_argument
@_field_options(new=False)
@json_option
@with_database
async def update(connection: Connection, /, *, group_id: int, as_json: bool, **fields: object) -> None:
    """Change a group's own fields."""
    changes = require_changes(fields_from(GroupFields, fields))
    _print(await groups.update_group(connection, group_id, changes), "updated", as_json=as_json)


@group.command()
@_id_argument
@yes_option
@with_database
async def delete(connection: Connection, /, *, group_id: int, yes: bool) -> None:
    """Delete a group. Its caller IDs remain."""
    found = await groups.read_group(connection, group_id)
    confirm(f'Delete group {group_id} "{found.name}" with {len(found.members)} members?', yes)
    await groups.delete_group(connection, group_id)
    click.echo(f"deleted group {group_id}: {found.name}")


def _print(found: GroupDefinition, done: str, *, as_json: bool) -> None:
    if as_json:
        _print_json(found)
    else:
        click.echo(f"{done} group {found.id}: {found.name}")


def _print_json(found: GroupDefinition) -> None:
    """Members and the group encode as arrays by themselves; here they are objects."""
    print_object(asdict(found) | {"members": _members(found)})


def _members(found: GroupDefinition) -> list[_Member]:
    return [_member(member) for member in found.members]


def _member(member: MemberDefinition) -> _Member:
    return _Member(**asdict(member))


def _summary(summary: GroupSummary) -> _Summary:
    return _Summary(
        summary.id,
        summary.name,
        summary.rotation_strategy,
        summary.sticky_enabled,
        summary.status,
        summary.caller_ids_count,
    )
