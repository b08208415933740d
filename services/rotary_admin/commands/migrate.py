"""`rotary-admin migrate`."""

import asyncio

import click

from rotary.postgres.connection import answering
from rotary.postgres.migrate import migrate as apply_migrations
from rotary_admin.context import connect_within, postgres_url
from rotary_admin.output import print_object
from rotary.runtime.cli import json_option


@click.command()
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a server that is not up yet.",
)
@json_option
def migrate(wait: float, as_json: bool) -> None:  # noqa: FBT001  click passes flags by name
    """Bring the database's tables up to date. Safe to run again, and by two at once."""
    applied = asyncio.run(_migrate(postgres_url(), wait))
    if as_json:
        print_object({"applied": applied})
    else:
        click.echo("\n".join(f"applied {name}" for name in applied) or "up to date")


async def _migrate(url: str, wait: float) -> list[str]:
    connection = await connect_within(url, wait)
    try:
        with answering(connection):
            return await apply_migrations(connection)
    finally:
        await connection.close(timeout=5)
