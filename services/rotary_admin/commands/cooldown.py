"""`rotary-admin cooldown`."""

import click

from rotary.management.cooldown import clear_cooldown
from rotary.postgres.connection import Connection
from rotary_admin.context import rabbitmq_url, with_database
from rotary_admin.params import ROW_ID, customer_option

SOURCE = "/rotary-admin"


@click.group()
def cooldown() -> None:
    """Manage the cooldown of flagged caller IDs."""


@cooldown.command()
@customer_option
@click.argument("caller_ids", type=ROW_ID, nargs=-1, required=True, metavar="CALLER_ID_ID...")
@with_database
async def clear(connection: Connection, /, *, customer_id: int, caller_ids: tuple[int, ...]) -> None:
    """End the cooldown of caller IDs now, by publishing cooldown-cleared. The flags still lower their health."""
    url = rabbitmq_url()
    await clear_cooldown(connection, url, customer_id, caller_ids, SOURCE)
    click.echo(f"cleared, confirmed by the broker: {', '.join(map(str, caller_ids))}")
