"""`rotary-admin dialer`: users on the broker that can publish one customer's events and nothing else."""

import re
import secrets
import string
from collections.abc import Callable
from typing import Any

import click
import msgspec
from msgspec import Struct

from rotary.events import EVENT_TYPES, EXCHANGE
from rotary.management.lookups import require_customer
from rotary.rabbitmq.management import Management, Permissions, UserLimits
from rotary.runtime.cli import Failure, confirm, json_option, yes_option
from rotary_admin.context import database, postgres_url, with_management
from rotary_admin.output import print_object, print_rows
from rotary_admin.params import customer_option

PREFIX = "dialer-"
"""Every dialer's user has this prefix, so that no command here can reach the operator's or the consumer's user."""
_PASSWORD_LETTERS = string.ascii_letters + string.digits  # No URL needs to quote them.
_PASSWORD_LENGTH = 43  # 62^43 > 2^256
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_NOTHING = "^$"
_PERMISSIONS = Permissions(configure=_NOTHING, write=rf"^{re.escape(EXCHANGE)}$", read=_NOTHING)
_CUSTOMER_ID = re.compile(r"\\\.([1-9][0-9]*)(?:\\z|\$)$")


class Dialer(Struct, frozen=True):
    """One dialer as the broker has it: its user, its customer, its open connections and its limits (None: no limit)."""

    name: str
    user: str
    customer_id: int
    connections: int
    max_connections: int | None
    max_channels: int | None


class Access(Struct, frozen=True):
    """A dialer's login. The password is printed when it is set and cannot be read again."""

    name: str
    user: str
    customer_id: int
    vhost: str
    password: str


class _Name(click.ParamType[str]):
    name = "NAME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Checks the name: short enough for logs, and without characters that URLs quote."""
        if not _NAME.fullmatch(str(value)):
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


def writable(customer_id: int) -> str:
    r"""The pattern of the routing keys that a customer's dialer may publish.

    It ends with `\z`, because `$` also matches before a line feed at the end.
    """
    return rf"^({'|'.join(EVENT_TYPES)})\.{customer_id}\z"


@click.group()
def dialer() -> None:
    """Manage dialers' users on the broker. Each can publish one customer's events and nothing else.

    Needs ROTARY_MANAGEMENT_URL.
    """


@dialer.command()
@_name_argument
@customer_option
@_limit_options(max_connections=20, max_channels=40)
@json_option
@with_management
async def create(
    management: Management, /, *, name: str, customer_id: int, max_connections: int, max_channels: int, as_json: bool
) -> None:
    """Create a dialer's user and print its password once. The customer must exist in ROTARY_POSTGRES_URL."""
    await _check_customer(customer_id)
    user = PREFIX + name
    if await management.has_user(user):
        raise Failure(f"the broker already has a user {user}: see rotary-admin dialer list")
    password = _new_password()
    try:
        await management.put_user(user, password)
        # The order matters: without topic permissions a user may write every key, without permissions nothing.
        await management.limit(user, UserLimits(max_connections, max_channels))
        await management.permit_topics(user, EXCHANGE, writable(customer_id), _NOTHING)
        await management.permit(user, _PERMISSIONS)
    except BaseException:
        await management.delete_user(user)
        raise
    _print(Access(name, user, customer_id, management.vhost, password), "created", as_json=as_json)


@dialer.command(name="list")
@json_option
@with_management
async def list_(management: Management, /, *, as_json: bool) -> None:
    """List the dialers and what the broker permits them."""
    limits = await management.limits()
    rows = [
        Dialer(
            name=user.removeprefix(PREFIX),
            user=user,
            customer_id=customer_id,
            connections=await management.connections(user),
            **msgspec.structs.asdict(limits.get(user, UserLimits())),
        )
        for user, customer_id in sorted((await _dialers(management)).items())
    ]
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
    password = _new_password()
    await management.put_user(user, password)
    await management.close_connections(user, "the password was changed")
    _print(Access(name, user, customer_id, management.vhost, password), "changed", as_json=as_json)


@dialer.command()
@_name_argument
@yes_option
@with_management
async def revoke(management: Management, /, *, name: str, yes: bool) -> None:
    """Delete a dialer's user and close its connections."""
    user, customer_id = await _find(management, name)
    confirm(f"Delete {user} of customer {customer_id} and close its connections?", yes)
    # A new password first: otherwise the dialer could reconnect before its user is deleted.
    await management.put_user(user, _new_password())
    await management.close_connections(user, "the user was revoked")
    await management.delete_user(user)
    click.echo(f"revoked dialer {name}: {user} of customer {customer_id}")


async def _check_customer(customer_id: int) -> None:
    async with database(postgres_url()) as connection:
        await require_customer(connection, customer_id)


async def _dialers(management: Management) -> dict[str, int]:
    """Each dialer's user and its customer, as the broker enforces it."""
    return {
        granted.user: int(customer[1])
        for granted in await management.topic_permissions()
        if granted.exchange == EXCHANGE and granted.user.startswith(PREFIX)
        if (customer := _CUSTOMER_ID.search(granted.write))
    }


async def _find(management: Management, name: str) -> tuple[str, int]:
    user = PREFIX + name
    customer_id = (await _dialers(management)).get(user)
    if customer_id is None:
        raise Failure(f"dialer {name} does not exist: see rotary-admin dialer list")
    return user, customer_id


def _new_password() -> str:
    return "".join(secrets.choice(_PASSWORD_LETTERS) for _ in range(_PASSWORD_LENGTH))


def _print(access: Access, done: str, *, as_json: bool) -> None:
    if as_json:
        print_object(access)
        return
    user = f"{access.user} of customer {access.customer_id} on virtual host {access.vhost}"
    click.echo(f"{done}: {user}. The password is shown only now:", err=True)
    click.echo(access.password)
