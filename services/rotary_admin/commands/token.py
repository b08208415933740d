"""`rotary-admin token`."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from datetime import datetime

import click
import msgspec
from msgspec.structs import asdict

from rotary.definitions import SCOPES
from rotary.errors import ConfigurationError, UnavailableError
from rotary.events import Timestamp
from rotary.management import tokens
from rotary.management.fields import NewToken
from rotary.management.revocation import ANSWER_SECONDS, revoke_token
from rotary.management.rows import Target
from rotary.management.tokens import Token
from rotary.postgres.connection import Connection
from rotary.redis.connection import connect
from rotary.redis.definition_writer import DefinitionWriter
from rotary.runtime.cli import confirm, json_option, yes_option
from rotary_admin.context import database, projection_settings, redis_url, with_database
from rotary_admin.output import print_object, print_rows
from rotary_admin.params import ROW_ID, customer_filter, customer_option, fields_from

SILENT_MS = 5000
"""A consumer records once a second that it projects definitions."""


class _TimeParam(click.ParamType[datetime]):
    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Parses RFC 3339 with an offset."""
        try:
            return msgspec.convert(value, Timestamp)
        except msgspec.ValidationError:
            self.fail(f"{value!r} is invalid; expected a time with an offset, such as 2027-01-01T00:00:00Z", param, ctx)


@click.group()
def token() -> None:
    """Manage bearer tokens for the API."""


@token.command()
@customer_option
@click.option("--name", required=True, help="Who uses it; shown in the list.")
@click.option(
    "--rate-limit", type=click.IntRange(1, 2**31 - 1), metavar="N", help="Requests per minute.  [default: 600]"
)
@click.option("--unlimited", is_flag=True, help="Without a rate limit.")
@click.option("--expires", type=_TimeParam(), help="Such as 2027-01-01T00:00:00Z.  [default: never]")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    help="What it may do. Repeat for several.  [default: telesales_api_access]",
)
@json_option
@with_database
async def create(  # noqa: PLR0913  one parameter per option
    connection: Connection,
    /,
    *,
    customer_id: int,
    name: str,
    rate_limit: int | None,
    unlimited: bool,
    expires: datetime | None,
    scopes: Sequence[str],
    as_json: bool,
) -> None:
    """Create a token and print it once. Only its SHA-256 is stored."""
    if unlimited and rate_limit is not None:
        raise click.UsageError("pass --rate-limit or --unlimited, not both")
    new = fields_from(NewToken, {"name": name, "scopes": list(scopes) or None, "expires_at": expires})
    if unlimited or rate_limit is not None:
        new = msgspec.structs.replace(new, rate_limit_per_minute=rate_limit)
    created, bearer = await tokens.create_token(connection, customer_id, new)
    if as_json:
        print_object(asdict(created) | {"token": bearer})
        return
    click.echo(f"created token {created.id} for customer {customer_id}. {await _when_accepted()}", err=True)
    click.echo("The token is shown only now:", err=True)
    click.echo(bearer)


@token.command("list")
@customer_filter
@json_option
@with_database
async def list_tokens(connection: Connection, /, *, customer_id: int | None, as_json: bool) -> None:
    """List tokens, including revoked and expired ones."""
    rows = await tokens.list_tokens(connection, customer_id)
    print_rows(rows, Token, as_json=as_json, empty="no tokens: create one with rotary-admin token create")


@token.command()
@click.argument("token_id", metavar="ID", type=ROW_ID)
@click.option(
    "--overlap",
    type=click.IntRange(0, 30 * 86_400),
    default=86_400,
    show_default=True,
    metavar="SECONDS",
    help="How long the old token stays valid.",
)
@json_option
@with_database
async def rotate(connection: Connection, /, *, token_id: int, overlap: int, as_json: bool) -> None:
    """Create a token like this one, and let this one expire after an overlap. Prints the new one once."""
    created, bearer = await tokens.rotate_token(connection, Target(token_id), overlap)
    if as_json:
        print_object(asdict(created) | {"token": bearer})
        return
    click.echo(f"created token {created.id}; token {token_id} expires in {overlap} s at the latest", err=True)
    click.echo("The token is shown only now:", err=True)
    click.echo(bearer)


@token.command()
@click.argument("token_id", metavar="ID", type=ROW_ID)
@yes_option
def revoke(token_id: int, yes: bool) -> None:  # noqa: FBT001  click passes flags by name
    """Revoke a token for good. Returns once the API rejects it. Safe to repeat."""
    click.echo(asyncio.run(_revoke(token_id, yes=yes)))


async def _revoke(token_id: int, *, yes: bool) -> str:
    settings = projection_settings()
    async with database(settings.postgres_url) as connection:
        found = await tokens.read_token(connection, token_id)
        if found.revoked_at is None:
            confirm(f'Revoke token {token_id} "{found.name}" of customer {found.customer_id}?', yes)
        await revoke_token(connection, settings.redis_url, token_id)
    if found.revoked_at is not None:
        return f"token {token_id} is already revoked"
    return f"revoked token {token_id}: {found.name}"


async def _when_accepted() -> str:
    """When the API will accept a token that is being committed, as a sentence."""
    try:
        async with aclosing(connect(redis_url(), timeout_seconds=ANSWER_SECONDS)) as client:
            ago_ms = await DefinitionWriter(client).projected_ms_ago()
    except (ConfigurationError, UnavailableError):
        return "The API accepts it once a consumer has projected it."
    if ago_ms is None or ago_ms > SILENT_MS:
        return "No consumer is projecting definitions: the API accepts it once one runs."
    return "The API accepts it within a second."
