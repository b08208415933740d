"""`rotary-dialer`: gets events out of dialers that cannot import `rotary.publisher`, and plays one for load tests."""

import logging

import click

from rotary import __version__
from rotary_dialer import spooler
from rotary_dialer.command_line import Program
from rotary_dialer.commands import asyncapi, publish, simulate

COMMANDS: tuple[click.Command, ...] = (publish.publish, spooler.spool, simulate.simulate, asyncapi.print_asyncapi)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rotary-dialer")
def cli() -> None:
    """Publishes events to Rotary's broker, each confirmed."""


for command in COMMANDS:
    cli.add_command(command)


def main() -> None:
    """The console script."""
    # Every lost connection is told in our own words; aiormq would add a trace to each, asyncio a line a write.
    for name in ("aiormq", "rotary.publisher", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    cli(prog_name="rotary-dialer")


if __name__ == "__main__":
    main()
