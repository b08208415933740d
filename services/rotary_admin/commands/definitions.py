"""What commands ask of Redis: to refuse a token at once, and whether a consumer projects definitions there."""

import asyncio
import os
import time
from contextlib import aclosing

import click
from msgspec import Struct

from rotary.definitions import TokenDefinition
from rotary.errors import ConfigurationError, UnavailableError
from rotary.postgres import store
from rotary.redis.connection import connect
from rotary.redis.definition_writer import DefinitionWriter, epoch_of
from rotary.runtime.settings import CaFile, PostgresUrl, RedisUrl, load
from rotary_admin.context import connect_within
from rotary.runtime.cli import Failure, confirm, yes_option

PATIENCE_SECONDS = 5.0
ANSWER_SECONDS = 2.0
SILENT_MS = 5000
"""A projector says once a second that it is there."""


class RedisSettings(Struct, frozen=True):
    """What is needed to write to Redis."""

    redis_url: RedisUrl
    ca_file: CaFile = ""


class ProjectionSettings(Struct, frozen=True):
    """What is needed to write to Redis what PostgreSQL says."""

    postgres_url: PostgresUrl
    redis_url: RedisUrl
    ca_file: CaFile = ""


async def write_token(redis_url: str, version: str, sha256: str) -> TokenDefinition | None:
    """Has Redis refuse a token, which was read as revoked at this version; returns the token that Redis has afterwards.

    Tries for five seconds. Raises UnavailableError.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    async with aclosing(connect(redis_url, timeout_seconds=ANSWER_SECONDS)) as client:
        writer = DefinitionWriter(client)
        while True:
            try:
                return await writer.put_token(version, sha256, None)
            except UnavailableError:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.2)


async def when_projected() -> str:
    """When a committed change will be in the API, as a sentence."""
    try:
        url = load(RedisSettings, os.environ).redis_url
        async with aclosing(connect(url, timeout_seconds=ANSWER_SECONDS)) as client:
            ago = await DefinitionWriter(client).projected_ms_ago()
    except (ConfigurationError, UnavailableError):
        return "It works once a consumer has projected it."
    if ago is None or ago > SILENT_MS:
        return "No consumer is projecting definitions: it works once one runs."
    return "It works within a second."


@click.group()
def definitions() -> None:
    """The copies of the definitions in Redis."""


@definitions.command()
@yes_option
def resync(yes: bool) -> None:  # noqa: FBT001  # it is the flag
    """Have a consumer write all definitions to Redis again, as newer than whatever is there.

    Run it after PostgreSQL was restored from a backup. The API goes on answering from what Redis has meanwhile.
    """
    settings = load(ProjectionSettings, os.environ)
    confirm("Write all definitions to Redis again?", yes)
    click.echo(f"requested; definitions now have epoch {asyncio.run(_request_resync(settings))}")


async def _request_resync(settings: ProjectionSettings) -> int:
    async with aclosing(connect(settings.redis_url)) as client:
        try:
            newest = await DefinitionWriter(client).doubt({})
        except UnavailableError as error:
            raise Failure(f"what Redis has cannot be read, nothing was changed: {error.what}") from error
    connection = await connect_within(settings.postgres_url, 0)
    try:
        return await store.request_resync(connection, max(map(epoch_of, newest.values())))
    finally:
        await connection.close(timeout=5)
