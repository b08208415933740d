"""`rotary-admin`: composes the command groups. Each module of this package brings one command or group."""

import logging

import click

from rotary import __version__
from rotary_admin import (
    caller_ids,
    cooldowns,
    customers,
    dialers,
    groups,
    logs,
    members,
    migrating,
    parked,
    projection,
    rebuilding,
    tokens,
    transfer,
    upgrade,
)
from rotary.runtime.cli import Program

COMMANDS: tuple[click.Command, ...] = (
    migrating.migrate,
    transfer.import_file,
    transfer.export,
    customers.customer,
    groups.group,
    caller_ids.caller_id,
    members.member,
    tokens.token,
    dialers.dialer,
    cooldowns.cooldown,
    parked.parked,
    logs.log,
    rebuilding.rebuild,
    upgrade.upgrade,
    projection.definitions,
)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rotary-admin")
def cli() -> None:
    """Customers, groups, caller IDs and tokens in Rotary's database (ROTARY_POSTGRES_URL)."""


for command in COMMANDS:
    cli.add_command(command)


def main() -> None:
    """The console script."""
    # A lost or refused connection is told in our own words, on one line.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    cli(prog_name="rotary-admin")


if __name__ == "__main__":
    main()
