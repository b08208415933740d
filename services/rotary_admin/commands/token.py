"""`rotary-admin token`."""

import asyncio
import os
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256

import click
import msgspec
from msgspec import Struct
from msgspec.structs import asdict

from rotary.bearer import new_token
from rotary.definitions import SCOPES
from rotary.errors import UnavailableError
from rotary.events import Timestamp
from rotary.postgres import store
from rotary.postgres.connection import Connection, answering, connect
from rotary.runtime.settings import load
from rotary_admin.context import on_database, statement
from rotary.management.lookups import require_customer
from rotary_admin.params import ROW_ID, customer_option, plain_name
from rotary_admin.output import print_object, print_rows
from rotary.runtime.cli import Failure, confirm, json_option, yes_option
from rotary_admin.commands.definitions import ProjectionSettings, when_projected, write_token
from rotary.management.rows import insert, missing


class TokenRow(Struct, frozen=True):
    """One token as listed; a null limit is none. The string itself is nowhere kept."""

    id: int
    customer_id: int
    name: str
    scopes: list[str]
    rate_limit_per_minute: int | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class _Moment(click.ParamType[datetime]):
    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """RFC 3339 with an offset."""
        try:
            return msgspec.convert(value, Timestamp)
        except msgspec.ValidationError:
            self.fail(f"{value!r} is no time with an offset, such as 2027-01-01T00:00:00Z", param, ctx)


@click.group()
def token() -> None:
    """Bearer tokens for the API."""


@token.command()
@customer_option
@click.option("--name", required=True, help="Who uses it, for the list.")
@click.option("--rate-limit", type=click.IntRange(1, 2**31 - 1), metavar="N", help="Requests a minute.  [default: 600]")
@click.option("--unlimited", is_flag=True, help="No limit.")
@click.option("--expires", type=_Moment(), help="2027-01-01T00:00:00Z.  [default: never]")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    help="What it may do; repeat for several.  [default: telesales_api_access]",
)
@json_option
@on_database
async def create(  # noqa: PLR0913  one parameter an option
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
    """Create a token and print it, this once: only its SHA-256 is kept."""
    if unlimited and rate_limit is not None:
        raise click.UsageError("give --rate-limit or --unlimited, not both")
    await require_customer(connection, customer_id)
    bearer = new_token()
    values: dict[str, object] = {
        "customer_id": customer_id,
        "name": plain_name(name),
        "token_sha256": sha256(bearer.encode()).digest(),
        "expires_at": expires,
    }
    if scopes:
        values["scopes"] = list(scopes)
    if unlimited or rate_limit is not None:
        values["rate_limit_per_minute"] = rate_limit
    row_id = await insert(connection, "api_tokens", values)
    if as_json:
        print_object(asdict(await _read_one(connection, row_id)) | {"token": bearer})
        return
    click.echo(f"created token {row_id} for customer {customer_id}. {await when_projected()}", err=True)
    click.echo("It is shown only now:", err=True)
    click.echo(bearer)


@token.command("list")
@click.option("--customer", "customer_id", type=ROW_ID, metavar="ID", help="Only this customer's.")
@json_option
@on_database
async def list_tokens(connection: Connection, /, *, customer_id: int | None, as_json: bool) -> None:
    """List tokens, revoked and expired ones too."""
    if customer_id is not None:
        await require_customer(connection, customer_id)
    rows = [TokenRow(*row) for row in await connection.fetch(statement("tokens"), customer_id, None)]
    print_rows(rows, TokenRow, as_json=as_json, empty="no tokens: rotary-admin token create")


@token.command()
@click.argument("token_id", metavar="ID", type=ROW_ID)
@yes_option
def revoke(token_id: int, yes: bool) -> None:  # noqa: FBT001  # it is the flag
    """Revoke a token, for good. Returns when the API refuses it; for a revoked token, makes sure of it."""
    asyncio.run(_revoke(load(ProjectionSettings, os.environ), token_id, yes=yes))


async def _revoke(settings: ProjectionSettings, token_id: int, *, yes: bool) -> None:
    connection = await connect(settings.postgres_url)
    try:
        with answering(connection):
            async with connection.transaction():
                done = await _mark_revoked(connection, token_id, yes=yes)
        # In a snapshot after the commit: this version has the revocation, and so has every later one.
        async with store.snapshot(connection):
            version = await store.read_version(connection)
            sha256_hex = str(await connection.fetchval(statement("token_sha256"), token_id))
    finally:
        await connection.close(timeout=5)
    await _refuse_in_redis(settings.redis_url, version, sha256_hex, token_id)
    click.echo(done)


async def _mark_revoked(connection: Connection, token_id: int, *, yes: bool) -> str:
    row = await _read_one(connection, token_id)
    if row.revoked_at is not None:
        return f"token {token_id} is revoked already"
    confirm(f'Revoke token {token_id} "{row.name}" of customer {row.customer_id}?', yes)
    await connection.execute(statement("revoke_token"), token_id)
    return f"revoked token {token_id}: {row.name}"


async def _refuse_in_redis(redis_url: str, version: str, sha256_hex: str, token_id: int) -> None:
    try:
        left = await write_token(redis_url, version, sha256_hex)
    except UnavailableError as error:
        raise Failure(
            f"token {token_id} is revoked in PostgreSQL, but the API still accepts it: {error.what}. "
            "Run this command again, or start a consumer, once Redis answers."
        ) from error
    if left is not None:
        raise Failure(
            f"token {token_id} is revoked in PostgreSQL, but the API still accepts it: Redis holds newer definitions. "
            "If PostgreSQL was restored, run rotary-admin definitions resync with a consumer running."
        )


async def _read_one(connection: Connection, row_id: int) -> TokenRow:
    rows = await connection.fetch(statement("tokens"), None, row_id)
    if not rows:
        raise missing("api_tokens", row_id)
    return TokenRow(*rows[0])
