"""`rotary-admin dialer`: a dialer's user on the broker, who can publish one customer's events and nothing else."""

import asyncio
import os
import re
import secrets
import string
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Annotated, Any, Concatenate, ParamSpec
from urllib.parse import unquote, urlsplit

import click
import msgspec
from msgspec import Meta, Struct

from rotary.events import EVENT_TYPES, EXCHANGE
from rotary.postgres.connection import answering, connect
from rotary.rabbitmq.management import Management, Permissions, UserLimits, open_management
from rotary.runtime.settings import CaFile, RabbitUrl, load
from rotary_admin.context import postgres_url
from rotary.management.lookups import require_customer
from rotary_admin.params import customer_option
from rotary_admin.output import print_object, print_rows
from rotary.runtime.cli import Failure, confirm, json_option, yes_option

P = ParamSpec("P")

PREFIX = "dialer-"
"""Dialers' users have names of their own: no command here can touch the operator's or the consumer's."""
_LETTERS = string.ascii_letters + string.digits  # nothing that a URL would want quoted
_LENGTH = 43  # 62^43 > 2^256
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_NOTHING = "^$"
_WALLS = Permissions(configure=_NOTHING, write=rf"^{re.escape(EXCHANGE)}$", read=_NOTHING)
_CUSTOMER = re.compile(r"\\\.([1-9][0-9]*)(?:\\z|\$)$")


class ManagementSettings(Struct, frozen=True):
    """What these commands need. The virtual host is the one of the broker's URL."""

    management_url: Annotated[str, Meta(pattern=r"^https?://.+", description="http://user:password@host:15672")]
    rabbitmq_url: RabbitUrl = "amqp:///"
    ca_file: CaFile = ""


class Dialer(Struct, frozen=True):
    """One dialer as listed: its user on the broker, whose events it may publish, its open connections, its limits.

    A limit that is None is not set.
    """

    name: str
    user: str
    customer_id: int
    connections: int
    max_connections: int | None
    max_channels: int | None


class Access(Struct, frozen=True):
    """What a dialer logs in with; the password is shown when it is made and never again."""

    name: str
    user: str
    customer_id: int
    vhost: str
    password: str


class _Name(click.ParamType[str]):
    name = "NAME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Short enough for a log, plain enough for a URL."""
        if not _NAME.fullmatch(str(value)):
            self.fail(f"{value!r}: up to 63 of a-z 0-9 . _ - beginning with a letter or digit, as in hcm-1", param, ctx)
        return str(value)


def _limit_options(**defaults: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The two limits as options of a command. Any: click's decorators leave the function as it is."""
    helps = {
        "max_connections": "Connections the dialer may have open.",
        "max_channels": "Channels it may have open, on all connections together.",
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


def on_management(command: Callable[Concatenate[Management, P], Awaitable[None]]) -> Callable[P, None]:
    """Makes a click callback of a coroutine function that takes the management API first."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        settings = load(ManagementSettings, os.environ)
        vhost = unquote(urlsplit(settings.rabbitmq_url).path.removeprefix("/")) or "/"

        async def connected() -> None:
            async with open_management(settings.management_url, vhost, settings.ca_file) as management:
                await command(management, *args, **kwargs)

        asyncio.run(connected())

    return run


def writable(customer_id: int) -> str:
    r"""The routing keys a customer's dialer may publish: these three and no other.

    `\z`, because `$` would also pass a key with a line feed at its end.
    """
    return rf"^({'|'.join(EVENT_TYPES)})\.{customer_id}\z"


@click.group()
def dialer() -> None:
    """Dialers' users on the broker (ROTARY_MANAGEMENT_URL): each can publish one customer's events, nothing else."""


@dialer.command()
@_name_argument
@customer_option
@_limit_options(max_connections=20, max_channels=40)
@json_option
@on_management
async def create(
    management: Management, /, *, name: str, customer_id: int, max_connections: int, max_channels: int, as_json: bool
) -> None:
    """Create a dialer's user and print its password, this once. The customer must exist (ROTARY_POSTGRES_URL)."""
    await _check_customer(customer_id)
    user = PREFIX + name
    if await management.has_user(user):
        raise Failure(f"there is a broker user {user} already: rotary-admin dialer list")
    password = _new_password()
    try:
        await management.put_user(user, password)
        # In this order: a user without topic permissions may write every key, one without permissions nothing at all.
        await management.limit(user, UserLimits(max_connections, max_channels))
        await management.permit_topics(user, EXCHANGE, writable(customer_id), _NOTHING)
        await management.permit(user, _WALLS)
    except BaseException:
        await management.delete_user(user)
        raise
    _show(Access(name, user, customer_id, management.vhost, password), "created", as_json=as_json)


@dialer.command(name="list")
@json_option
@on_management
async def list_(management: Management, /, *, as_json: bool) -> None:
    """List the dialers, by what the broker permits them."""
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
    print_rows(rows, Dialer, as_json=as_json, empty="no dialers: rotary-admin dialer create")


@dialer.command()
@_name_argument
@_limit_options()
@on_management
async def limit(management: Management, /, *, name: str, max_connections: int | None, max_channels: int | None) -> None:
    """Change a dialer's limits. What it has open stays open."""
    if max_connections is None and max_channels is None:
        raise click.UsageError("give --max-connections, --max-channels or both")
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
@on_management
async def rotate(management: Management, /, *, name: str, yes: bool, as_json: bool) -> None:
    """Give a dialer a new password and close its connections. Print the password, this once."""
    user, customer_id = await _find(management, name)
    confirm(f"Give {user} of customer {customer_id} a new password, and close its connections?", yes)
    password = _new_password()
    await management.put_user(user, password)
    await management.close_connections(user, "the password was changed")
    _show(Access(name, user, customer_id, management.vhost, password), "changed", as_json=as_json)


@dialer.command()
@_name_argument
@yes_option
@on_management
async def revoke(management: Management, /, *, name: str, yes: bool) -> None:
    """Delete a dialer's user and close its connections."""
    user, customer_id = await _find(management, name)
    confirm(f"Delete {user} of customer {customer_id}, and close its connections?", yes)
    # Locked out first: once its connections are closed it cannot come back while the user still exists.
    await management.put_user(user, _new_password())
    await management.close_connections(user, "the user was revoked")
    await management.delete_user(user)
    click.echo(f"revoked dialer {name}: {user} of customer {customer_id}")


async def _check_customer(customer_id: int) -> None:
    connection = await connect(postgres_url())
    try:
        with answering(connection):
            await require_customer(connection, customer_id)
    finally:
        await connection.close(timeout=5)


async def _dialers(management: Management) -> dict[str, int]:
    """Each dialer's user and its customer: what the broker enforces, and no note of ours beside it."""
    return {
        granted.user: int(customer[1])
        for granted in await management.topic_permissions()
        if granted.exchange == EXCHANGE and granted.user.startswith(PREFIX)
        if (customer := _CUSTOMER.search(granted.write))
    }


async def _find(management: Management, name: str) -> tuple[str, int]:
    user = PREFIX + name
    customer_id = (await _dialers(management)).get(user)
    if customer_id is None:
        raise Failure(f"there is no dialer {name}: rotary-admin dialer list")
    return user, customer_id


def _new_password() -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))


def _show(access: Access, done: str, *, as_json: bool) -> None:
    if as_json:
        print_object(access)
        return
    whose = f"{access.user} of customer {access.customer_id} on virtual host {access.vhost}"
    click.echo(f"{done}: {whose}. The password is shown only now:", err=True)
    click.echo(access.password)
