"""`rotary-admin group`."""

import click
from msgspec import Struct
from msgspec.structs import asdict

from rotary.definitions import GroupDefinition, GroupSummary, MemberDefinition
from rotary.postgres.connection import Connection
from rotary.postgres.store import read_group_summaries, read_groups
from rotary_admin.context import on_database
from rotary.management.definitions_file.schema import GroupEntry
from rotary.management.lookups import require_customer, require_group
from rotary_admin.params import ROW_ID, STATUSES, STRATEGIES, Decorator, customer_option, options, values_of
from rotary_admin.output import print_fields, print_object, print_rows
from rotary.runtime.cli import confirm, json_option, yes_option
from rotary.management.rows import delete, insert, update

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


def _fields(*, required: bool) -> Decorator:
    return options(
        click.option("--name", required=required),
        click.option("--strategy", "rotation_strategy", type=STRATEGIES, required=required),
        click.option("--description", help='Pass "" to clear.'),
        click.option("--sticky/--not-sticky", "sticky_enabled", default=None),
        click.option("--status", type=STATUSES),
    )


@click.group()
def group() -> None:
    """Caller ID groups: what a dialer rotates over."""


@group.command("list")
@customer_option
@json_option
@on_database
async def list_groups(connection: Connection, /, *, customer_id: int, as_json: bool) -> None:
    """List a customer's groups. The count is of members whose own status is active."""
    await require_customer(connection, customer_id)
    rows = [_summary(group) for group in await read_group_summaries(connection, customer_id)]
    print_rows(rows, _Summary, as_json=as_json, empty=f"customer {customer_id} has no groups")


@group.command()
@click.argument("group_id", type=ROW_ID)
@json_option
@on_database
async def show(connection: Connection, /, *, group_id: int, as_json: bool) -> None:
    """Show a group and its members."""
    found = await read_group(connection, group_id)
    members = [_member(member) for member in found.members]
    if as_json:
        print_object(asdict(found) | {"members": members})
        return
    print_fields(found, _OWN_FIELDS)
    click.echo()
    print_rows(members, _Member, as_json=False, empty="no members: rotary-admin member add")


@group.command()
@customer_option
@_fields(required=True)
@json_option
@on_database
async def create(connection: Connection, /, *, customer_id: int, as_json: bool, **fields: object) -> None:
    """Create an empty group."""
    values = {"customer_id": customer_id} | values_of(GroupEntry, fields)
    await require_customer(connection, customer_id)
    await _report(connection, await insert(connection, "caller_id_groups", values), "created", as_json=as_json)


@group.command("update")
@click.argument("group_id", type=ROW_ID)
@_fields(required=False)
@json_option
@on_database
async def change(connection: Connection, /, *, group_id: int, as_json: bool, **fields: object) -> None:
    """Change a group's own fields."""
    await update(connection, "caller_id_groups", group_id, values_of(GroupEntry, fields))
    await _report(connection, group_id, "updated", as_json=as_json)


@group.command("delete")
@click.argument("group_id", type=ROW_ID)
@yes_option
@on_database
async def remove(connection: Connection, /, *, group_id: int, yes: bool) -> None:
    """Delete a group. Its caller IDs stay."""
    found = await read_group(connection, group_id)
    confirm(f'Delete group {group_id} "{found.name}" with {len(found.members)} members?', yes)
    await delete(connection, "caller_id_groups", group_id)
    click.echo(f"deleted group {group_id}: {found.name}")


async def read_group(connection: Connection, group_id: int) -> GroupDefinition:
    """One group, whoever's it is. Raises Failure when there is none."""
    (found,) = await read_groups(connection, await require_group(connection, group_id), [group_id])
    return found


async def _report(connection: Connection, group_id: int, done: str, *, as_json: bool) -> None:
    found = await read_group(connection, group_id)
    if as_json:
        print_object(asdict(found) | {"members": [_member(member) for member in found.members]})
    else:
        click.echo(f"{done} group {group_id}: {found.name}")


def _member(member: MemberDefinition) -> _Member:
    return _Member(**asdict(member))


def _summary(group: GroupSummary) -> _Summary:
    return _Summary(
        group.id, group.name, group.rotation_strategy, group.sticky_enabled, group.status, group.caller_ids_count
    )
