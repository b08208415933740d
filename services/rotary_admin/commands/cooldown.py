"""`rotary-admin cooldown`."""

import asyncio
import os

import click
from msgspec import Struct

from rotary.postgres.connection import Connection
from rotary.publisher import Publisher
from rotary.runtime.settings import CaFile, RabbitUrl, load
from rotary_admin.context import on_database
from rotary.management.lookups import require_caller_ids
from rotary_admin.params import ROW_ID, customer_option

SOURCE = "/rotary-admin"


class BrokerSettings(Struct, frozen=True):
    """What commands on the broker need."""

    rabbitmq_url: RabbitUrl
    ca_file: CaFile = ""


def rabbitmq_url() -> str:
    """ROTARY_RABBITMQ_URL. Raises ConfigurationError when it is missing or has the wrong form."""
    return load(BrokerSettings, os.environ).rabbitmq_url


@click.group()
def cooldown() -> None:
    """The cooldown of flagged caller IDs."""


@cooldown.command()
@customer_option
@click.argument("caller_ids", type=ROW_ID, nargs=-1, required=True, metavar="CALLER_ID_ID...")
@on_database
async def clear(connection: Connection, /, *, customer_id: int, caller_ids: tuple[int, ...]) -> None:
    """End the cooldown of caller IDs now: publishes cooldown-cleared. Their health still counts the flags."""
    url = rabbitmq_url()
    await require_caller_ids(connection, customer_id, caller_ids)
    async with Publisher(url, customer_id=customer_id, source=SOURCE) as publisher:
        await asyncio.gather(*(publisher.cooldown_cleared(caller_id) for caller_id in caller_ids))
    click.echo(f"cleared, confirmed by the broker: {', '.join(map(str, caller_ids))}")
