"""`rotary-admin dialer`: users on the broker that can publish one customer's events and nothing else."""

import re
from collections.abc import Callable
from typing import Any

import click

from rotary.management import dialers
from rotary.management.dialers import MAX_CHANNELS, MAX_CONNECTIONS, NAME, Access, Dialer
from rotary.management.errors import ConflictError, NotFoundError
from rotary.management.lookups import require_customer
from rotary.rabbitmq.management import Management, UserLimits
from rotary.runtime.cli import Failure, confirm, json_option, yes_option
from rotary_admin.context import database, postgres_url, with_management
from rotary_admin.output import print_object, print_rows
from rotary_admin.params import customer_option

_SEE_LIST = "see rotary-admin dialer list"


class _Name(click.ParamType[str]):
    name = "NAME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(NAME, str(value)):
            self.fail(
                f"{value!r} is invalid; expected up to 63 of a-z 0-9 . _ - beginning with a letter or digit",
                param,
                ctx,
            )
        return str(value)


def _limit_options(**defaults: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The two limits as options. Any: click's decorators return the function unchanged."""
    helps = {
        "max_connections": "Maximum number of open connections.",
        "max_channels": "Maximum number of open channels, over all connections.",
    }

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for name, text in reversed(helps.items()):
            option = "--" + name.replace("_", "-")
            limit = click.option(
                option, type=click.IntRange(1, 10_000), default=defaults.get(name), show_default=True, help=text
            )
            function = limit(function)
        return function

    return decorate


_name_argument = click.argument("name", type=_Name())


@click.group()
def dialer() -> None:
    """Manage dialers' users on the broker. Each can publish one customer's events and nothing else.

    Needs ROTARY_MANAGEMENT_URL.
    """


@dialer.command()
@_name_argument
@customer_option
@_limit_options(max_connections=MAX_CONNECTIONS, max_channels=MAX_CHANNELS)
@json_option
@with_management
async def create(
    management: Management, /, *, name: str, customer_id: int, max_connections: int, max_channels: int, as_json: bool
) -> None:
    """Create a dialer's user and print its password once. The customer must exist in ROTARY_POSTGRES_URL."""
    async with database(postgres_url()) as connection:
        await require_customer(connection, customer_id)
    try:
        access = await dialers.create_dialer(management, name, customer_id, UserLimits(max_connections, max_channels))
    except ConflictError as error:
        raise Failure(f"{error}: {_SEE_LIST}") from error
    _print(access, "created", as_json=as_json)


@dialer.command(name="list")
@json_option
@with_management
async def list_(management: Management, /, *, as_json: bool) -> None:
    """List the dialers and what the broker permits them."""
    rows = await dialers.list_dialers(management)
    print_rows(rows, Dialer, as_json=as_json, empty="no dialers: create one with rotary-admin dialer create")


@dialer.command()
@_name_argument
@_limit_options()
@with_management
async def limit(management: Management, /, *, name: str, max_connections: int | None, max_channels: int | None) -> None:
    """Change a dialer's limits. Open connections and channels remain."""
    if max_connections is None and max_channels is None:
        raise click.UsageError("pass --max-connections, --max-channels or both")
    user, customer_id = await _find(management, name)
    await management.limit(user, UserLimits(max_connections, max_channels))
    now = (await management.limits()).get(user, UserLimits())
    click.echo(
        f"limited dialer {name} of customer {customer_id}:"
        f" {now.max_connections or 'any'} connections, {now.max_channels or 'any'} channels"
    )


@dialer.command()
@_name_argument
@yes_option
@json_option
@with_management
async def rotate(management: Management, /, *, name: str, yes: bool, as_json: bool) -> None:
    """Set a new password, print it once, and close the dialer's connections."""
    user, customer_id = await _find(management, name)
    confirm(f"Set a new password for {user} of customer {customer_id} and close its connections?", yes)
    _print(await dialers.rotate_dialer(management, name), "changed", as_json=as_json)


@dialer.command()
@_name_argument
@yes_option
@with_management
async def revoke(management: Management, /, *, name: str, yes: bool) -> None:
    """Delete a dialer's user and close its connections."""
    user, customer_id = await _find(management, name)
    confirm(f"Delete {user} of customer {customer_id} and close its connections?", yes)
    await dialers.revoke_dialer(management, name)
    click.echo(f"revoked dialer {name}: {user} of customer {customer_id}")


async def _find(management: Management, name: str) -> tuple[str, int]:
    try:
        return await dialers.find_dialer(management, name)
    except NotFoundError as error:
        raise Failure(f"{error}: {_SEE_LIST}") from error


def _print(access: Access, done: str, *, as_json: bool) -> None:
    if as_json:
        print_object(access)
        return
    user = f"{access.user} of customer {access.customer_id} on virtual host {access.vhost}"
    click.echo(f"{done}: {user}. The password is shown only now:", err=True)
    click.echo(access.password)
