"""`rotary-admin definitions`."""

import asyncio

import click

from rotary.errors import UnavailableError
from rotary.postgres import store
from rotary.redis.definition_writer import DefinitionWriter, epoch_of
from rotary.runtime.cli import Failure, confirm, yes_option
from rotary_admin.context import database, projection_settings, redis_client


@click.group()
def definitions() -> None:
    """Manage the copies of the definitions in Redis."""


@definitions.command()
@yes_option
def resync(yes: bool) -> None:  # noqa: FBT001  click passes flags by name
    """Have a consumer write all definitions to Redis again, as newer than what Redis holds.

    Run it after PostgreSQL was restored from a backup. Meanwhile the API answers from the present copies.
    """
    settings = projection_settings()
    confirm("Write all definitions to Redis again?", yes)
    epoch = asyncio.run(_request_resync(settings.postgres_url))
    click.echo(f"requested; definitions now have epoch {epoch}")


async def _request_resync(postgres_url: str) -> int:
    async with redis_client() as client:
        try:
            newest = await DefinitionWriter(client).close_older({})
        except UnavailableError as error:
            raise Failure(f"Redis could not be read, so nothing was changed: {error.what}") from error
    async with database(postgres_url) as connection:
        return await store.request_resync(connection, max(map(epoch_of, newest.values())))
