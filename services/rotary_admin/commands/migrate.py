"""`rotary-admin migrate`."""

import asyncio

import click

from rotary.postgres.migrate import migrate as apply_migrations
from rotary.runtime.cli import json_option
from rotary_admin.context import database, postgres_url
from rotary_admin.output import print_object


@click.command()
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for PostgreSQL to start.",
)
@json_option
def migrate(wait: float, as_json: bool) -> None:  # noqa: FBT001  click passes flags by name
    """Create or upgrade the database's tables. Safe to repeat, and to run twice at once."""
    applied = asyncio.run(_migrate(wait))
    if as_json:
        print_object({"applied": applied})
    else:
        click.echo("\n".join(f"applied {name}" for name in applied) or "up to date")


async def _migrate(wait: float) -> list[str]:
    async with database(postgres_url(), wait) as connection:
        return await apply_migrations(connection)
