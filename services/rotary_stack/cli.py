"""The command line of `rotary-stack`: which commands there are, and the ones that reach the stack we run inside."""

import importlib
import os
import sys

import click
import msgspec

from rotary import __version__
from rotary.errors import RotaryError
from rotary_stack.control.client import Order, give
from rotary_stack.control.messages import Status

# Loaded when asked for: a test that kills a server forty times should not load a database client each time.
_LOADED = {
    "exec": ("rotary_stack.commands", "exec_"),
    "up": ("rotary_stack.commands", "up"),
    "demo": ("rotary_demo.cli", "demo"),
}


class Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_LOADED])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _LOADED:
            return super().get_command(ctx, cmd_name)
        module, name = _LOADED[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rotary-stack")
def cli() -> None:
    """Real PostgreSQL, Redis and RabbitMQ, private and disposable, for development and tests.

    NAME is postgres, redis, rabbitmq, query, consumer-1, consumer-2, ... or consumer for all of them.
    """


@cli.command()
@click.argument("name")
@click.option("--empty", is_flag=True, help="Without its data.")
def start(name: str, *, empty: bool) -> None:
    """Start NAME, on its port and with its data, and wait until it answers."""
    give(Order("start", name, empty), os.environ)


@cli.command()
@click.argument("name")
@click.option("--empty", is_flag=True, help="Without its data.")
def restart(name: str, *, empty: bool) -> None:
    """Stop NAME, start it, and wait until it answers."""
    give(Order("restart", name, empty), os.environ)


@cli.command()
@click.argument("name")
def stop(name: str) -> None:
    """Ask NAME to end, and wait until it has."""
    give(Order("stop", name), os.environ)


@cli.command()
@click.argument("name")
def kill(name: str) -> None:
    """End NAME by SIGKILL, as a crash would."""
    give(Order("kill", name), os.environ)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For machines, with directories, logs and variables.")
def status(*, as_json: bool) -> None:
    """Show what runs in the stack we are inside."""
    answer = give(Order("status"), os.environ)
    click.echo(msgspec.json.format(msgspec.json.encode(answer)).decode() if as_json else _table(answer))


def _table(answer: Status) -> str:
    rows = answer.programs.values()
    return "\n".join(f"{unit.name:<12}{unit.state:<10}{unit.pid or '-':<9}{unit.url}" for unit in rows)


def main() -> None:
    try:
        cli(prog_name="rotary-stack")
    except RotaryError as error:
        click.echo(f"rotary-stack: {error}", err=True)
        sys.exit(1)
