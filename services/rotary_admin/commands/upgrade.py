"""`rotary-admin upgrade`."""

import click

from rotary.postgres.connection import Connection
from rotary.runtime.cli import confirm, yes_option
from rotary_admin.broker_upgrade import delete_old, move
from rotary_admin.context import with_database


@click.command()
@click.option("--delete-old", "delete", is_flag=True, help="Delete the queues, logs and keys of version 0.1.")
@yes_option
@with_database
async def upgrade(connection: Connection, delete: bool, yes: bool) -> None:  # noqa: FBT001  click passes flags by name
    """Upgrade a broker of version 0.1. Stop the consumers first; publishers may continue.

    No event is lost or counted twice, even if the command is interrupted and run again. The old queues remain until
    --delete-old.
    """
    if delete:
        confirm("Delete the queues, logs and keys of version 0.1?", yes)
        await delete_old()
        click.echo("deleted the queues, logs and keys of version 0.1")
        return
    copied = await move(connection)
    click.echo(f"published again: {copied.published} messages; parked: {copied.parked}")
    click.echo("Start the consumers. Once all is well, run rotary-admin upgrade --delete-old")
