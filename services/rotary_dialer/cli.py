"""`rotary-dialer`: the command line for dialers that do not import `rotary.publisher`, and for load tests."""

import logging

import click

from rotary import __version__
from rotary_dialer.command_line import CommandGroup
from rotary_dialer.commands.asyncapi import print_asyncapi
from rotary_dialer.commands.publish import publish
from rotary_dialer.commands.simulate import simulate
from rotary_dialer.commands.spool import spool

COMMANDS: tuple[click.Command, ...] = (publish, spool, simulate, print_asyncapi)


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rotary-dialer")
def cli() -> None:
    """Publish events to Rotary's broker and wait for each confirm."""


for command in COMMANDS:
    cli.add_command(command)


def main() -> None:
    """The console script."""
    # The commands report a lost connection themselves. aiormq adds a traceback to each, asyncio a line per write.
    for name in ("aiormq", "rotary.publisher", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    cli(prog_name="rotary-dialer")
