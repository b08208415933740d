"""The command line of `rotary-stack`."""

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

import click
import msgspec

from rotary.errors import RotaryError
from rotary_stack import control
from rotary_stack.command import found, run_command
from rotary_stack.interrupts import Interrupts, run
from rotary_stack.stack import Options, Stack, Status

NAMES = "postgres, redis, rabbitmq, query, consumer-1, consumer-2, … or consumer for all of them"


class Commands(click.Group):
    """Loads the demo only when it is asked for: it brings a dialer and a screen that nothing else needs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), "demo"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name != "demo":
            return super().get_command(ctx, cmd_name)
        command: click.Command = importlib.import_module("rotary_stack.demo").demo
        return command


@click.group(cls=Commands)
def cli() -> None:
    """Real PostgreSQL, Redis and RabbitMQ, private and disposable, for development and tests."""


# Any: click's decorators leave the function as it is, whatever it takes.
def composed(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say what the stack is made of."""
    for option in (
        click.option("--quiet", is_flag=True, help="Say nothing but errors."),
        click.option("--no-migrate", is_flag=True, help="Leave the database empty."),
        click.option("--consumers", default=1, show_default=True, type=click.IntRange(0, 16), metavar="N"),
        click.option("--services", is_flag=True, help="Run consumers and a query service too."),
    ):
        function = option(function)
    return function


@cli.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@composed
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(command: tuple[str, ...], *, services: bool, consumers: int, no_migrate: bool, quiet: bool) -> None:
    """Run COMMAND inside a new stack; exit with its status.

    It is given ROTARY_POSTGRES_URL, ROTARY_REDIS_URL, ROTARY_RABBITMQ_URL, and with --services ROTARY_API_URL,
    ROTARY_OPS_URL and ROTARY_CONSUMER_OPS_URL (one for each consumer, separated by spaces). Inside, the commands
    start, stop, kill, restart and status reach the stack.
    """
    if not found(command[0]):
        click.echo(f"rotary-stack: {command[0]}: command not found", err=True)
        sys.exit(127)
    options = Options(services=services, consumers=consumers, migrate=not no_migrate)

    async def main(interrupts: Interrupts) -> int:
        async with Stack.open(options, say=silent if quiet else say) as stack, control.controlled(stack):
            return await run_command(command, stack.environ(), interrupts)

    sys.exit(run(main))


@cli.command(short_help=f"Start NAME again and wait until it answers: {NAMES}.")
@click.argument("name")
@click.option("--empty", is_flag=True, help="Without its data.")
def start(name: str, *, empty: bool) -> None:
    """Start NAME, with the port and the data it had, and wait until it answers."""
    control.give(control.Order("start", name, empty), os.environ)


@cli.command()
@click.argument("name")
@click.option("--empty", is_flag=True, help="Without its data.")
def restart(name: str, *, empty: bool) -> None:
    """Stop NAME and start it again."""
    control.give(control.Order("restart", name, empty), os.environ)


@cli.command()
@click.argument("name")
def stop(name: str) -> None:
    """Ask NAME to end and wait until it has."""
    control.give(control.Order("stop", name), os.environ)


@cli.command()
@click.argument("name")
def kill(name: str) -> None:
    """SIGKILL NAME."""
    control.give(control.Order("kill", name), os.environ)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For machines: with directories, logs and variables.")
def status(*, as_json: bool) -> None:
    """Show what runs in the stack around us."""
    found_status = control.give(control.Order("status"), os.environ)
    click.echo(msgspec.json.format(msgspec.json.encode(found_status)).decode() if as_json else _table(found_status))


def _table(status: Status) -> str:
    rows = [f"{unit.name:<12}{unit.state:<10}{unit.pid or '-':<9}{unit.url}" for unit in status.programs.values()]
    return "\n".join(rows)


def say(line: str) -> None:
    """One line of progress, on standard error: standard output belongs to the command."""
    click.secho(f"· {line}", dim=True, err=True)


def silent(line: str) -> None:
    """Takes a line of progress and keeps it."""


def main() -> None:
    try:
        cli(prog_name="rotary-stack")
    except RotaryError as error:
        click.echo(f"rotary-stack: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
