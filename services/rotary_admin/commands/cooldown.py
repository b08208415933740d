"""`rotary-admin cooldown`."""

import click

from rotary.management.cooldown import clear_cooldown
from rotary.management.fields import ClearFields
from rotary.postgres.connection import Connection
from rotary_admin.context import rabbitmq_url, with_database
from rotary_admin.params import ROW_ID, customer_option, fields_from

SOURCE = "/rotary-admin"


@click.group()
def cooldown() -> None:
    """Manage the cooldown of flagged caller IDs."""


@cooldown.command()
@customer_option
@click.option("--reason", help="Why, for the audit log; up to 200 characters.")
@click.argument("caller_ids", type=ROW_ID, nargs=-1, required=True, metavar="CALLER_ID_ID...")
@with_database
async def clear(
    connection: Connection, /, *, customer_id: int, caller_ids: tuple[int, ...], reason: str | None
) -> None:
    """End the cooldown of caller IDs now, by publishing cooldown-cleared. The flags still lower their health."""
    given = fields_from(ClearFields, {"reason": reason})
    await clear_cooldown(connection, rabbitmq_url(), customer_id, caller_ids, SOURCE, reason=given.reason)
    click.echo(f"cleared, confirmed by the broker: {', '.join(map(str, caller_ids))}")
