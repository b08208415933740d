"""`rotary-admin user`: who signs in to the console.

A password is typed at a prompt or comes on standard input; it is never an argument, which other users of the machine
could read.
"""

import sys
from datetime import datetime
from typing import get_args

import click
from msgspec import Struct
from msgspec.structs import asdict

from rotary.management import users
from rotary.management.errors import InvalidError
from rotary.management.fields import NewUser, Role
from rotary.management.passwords import check_password, generate_password, hash_password
from rotary.management.users import User
from rotary.postgres.connection import Connection
from rotary.runtime.cli import Failure, confirm, json_option, yes_option
from rotary_admin.context import with_database
from rotary_admin.output import print_object, print_rows
from rotary_admin.params import ROW_ID, customer_filter, customer_option, fields_from

_NONE = "none"
_generate_option = click.option("--generate", is_flag=True, help="Make a random password and print it once.")
_name_argument = click.argument("name")


class UserLine(Struct, frozen=True):
    """One user as a line of the list. `roles` are `customer:role`."""

    id: int
    name: str
    display_name: str | None
    roles: list[str]
    two_factor: bool
    disabled: bool
    last_sign_in_at: datetime | None


@click.group()
def user() -> None:
    """Manage the users of the console, and what they may do for which customer."""


@user.command()
@_name_argument
@click.option("--display-name", help="As the console shows it.")
@click.option("--customer", "customer_id", type=ROW_ID, help="Give a role for this customer.")
@click.option("--role", type=click.Choice(get_args(Role)), default="viewer", show_default=True, help="With --customer.")
@_generate_option
@click.option("--no-password", is_flag=True, help="Signs in through the sign-in provider alone.")
@json_option
@with_database
async def create(  # noqa: PLR0913  one parameter per option
    connection: Connection,
    /,
    *,
    name: str,
    display_name: str | None,
    customer_id: int | None,
    role: Role,
    generate: bool,
    no_password: bool,
    as_json: bool,
) -> None:
    """Create a user. NAME is what is typed to sign in; for a sign-in provider it is the e-mail address."""
    if generate and no_password:
        raise click.UsageError("pass --generate or --no-password, not both")
    new = fields_from(NewUser, {"name": name.lower(), "display_name": display_name})
    password = None if no_password else _password(new.name, generate=generate)
    created = await users.create_user(connection, new, None if password is None else hash_password(password))
    if customer_id is not None:
        await users.set_role(connection, created.id, customer_id, role)
        created = await users.read_user(connection, created.id)
    _show(created, f"created user {created.id}: {created.name}", password if generate else None, as_json=as_json)


@user.command()
@_name_argument
@_generate_option
@json_option
@with_database
async def password(connection: Connection, /, *, name: str, generate: bool, as_json: bool) -> None:
    """Set a user's password. Every session of the user ends."""
    found = await users.find_user(connection, name)
    chosen = _password(found.name, generate=generate)
    await users.set_password(connection, found.id, hash_password(chosen))
    changed = await users.read_user(connection, found.id)
    _show(changed, f"changed the password of {found.name}", chosen if generate else None, as_json=as_json)


@user.command()
@_name_argument
@json_option
@with_database
async def disable(connection: Connection, /, *, name: str, as_json: bool) -> None:
    """Disable a user. Every session of the user ends at once."""
    await _set_disabled(connection, name, disabled=True, as_json=as_json)


@user.command()
@_name_argument
@json_option
@with_database
async def enable(connection: Connection, /, *, name: str, as_json: bool) -> None:
    """Enable a disabled user."""
    await _set_disabled(connection, name, disabled=False, as_json=as_json)


@user.command()
@_name_argument
@customer_option
@click.argument("role", type=click.Choice([*get_args(Role), _NONE]))
@json_option
@with_database
async def role(connection: Connection, /, *, name: str, customer_id: int, role: str, as_json: bool) -> None:
    """Give a user a role for a customer, or take it with `none`."""
    found = await users.find_user(connection, name)
    wanted: Role | None = next((known for known in get_args(Role) if known == role), None)
    await users.set_role(connection, found.id, customer_id, wanted, disabled=False)
    said = f"{found.name} has no role for customer {customer_id}"
    if wanted is not None:
        said = f"{found.name} is {wanted} of customer {customer_id}"
    _show(await users.read_user(connection, found.id), said, None, as_json=as_json)


@user.command("reset-totp")
@_name_argument
@yes_option
@json_option
@with_database
async def reset_totp(connection: Connection, /, *, name: str, yes: bool, as_json: bool) -> None:
    """Turn off one-time codes for a user who has lost the device."""
    found = await users.find_user(connection, name)
    if found.has_totp:
        confirm(f"Let {found.name} sign in without a code?", yes)
        await users.set_totp(connection, found.id, None)
    _show(await users.read_user(connection, found.id), f"{found.name} signs in without a code", None, as_json=as_json)


@user.command("list")
@customer_filter
@json_option
@with_database
async def list_users(connection: Connection, /, *, customer_id: int | None, as_json: bool) -> None:
    """List the users with their roles."""
    found = await users.list_users(connection, customer_id)
    if as_json:
        print_rows(found, User, as_json=True, empty="")
        return
    print_rows([_line(one) for one in found], UserLine, as_json=False, empty="no users: rotary-admin user create")


async def _set_disabled(connection: Connection, name: str, *, disabled: bool, as_json: bool) -> None:
    found = await users.find_user(connection, name)
    await users.set_disabled(connection, found.id, disabled=disabled)
    changed = await users.read_user(connection, found.id)
    _show(changed, f"{'disabled' if disabled else 'enabled'} {found.name}", None, as_json=as_json)


def _password(name: str, *, generate: bool) -> str:
    """A password that is accepted: a random one, or one that somebody types or pipes in."""
    if generate:
        return generate_password()
    if sys.stdin.isatty():
        chosen = str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    else:
        chosen = sys.stdin.readline().rstrip("\r\n")
    if not chosen:
        raise Failure("no password on standard input; pass --generate for a random one")
    try:
        check_password(chosen, name)
    except InvalidError as error:
        raise Failure(f"the password is not accepted: {error}") from None
    return chosen


def _show(changed: User, said: str, password: str | None, *, as_json: bool) -> None:
    """What was done, and a password that was made, this once."""
    if as_json:
        print_object(asdict(changed) | ({} if password is None else {"password": password}))
    elif password is None:
        click.echo(said)
    else:
        click.echo(f"{said}. The password is shown only now:", err=True)
        click.echo(password)


def _line(found: User) -> UserLine:
    roles = [f"{one.customer_id}:{one.role}{' (disabled)' if one.disabled else ''}" for one in found.roles]
    return UserLine(
        found.id,
        found.name,
        found.display_name,
        roles,
        found.has_totp,
        found.disabled_at is not None,
        found.last_sign_in_at,
    )
