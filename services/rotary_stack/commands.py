"""The commands that open a stack: `exec` and `up`."""

import asyncio
import shlex
import sys
from collections.abc import Callable
from typing import Any

import click

from rotary_stack.control.server import serve_control
from rotary_stack.foreground import is_command, run_command
from rotary_stack.services import SERVICES
from rotary_stack.signals import SignalHandler, run
from rotary_stack.stack import SERVERS, Options, Stack

_SERVICE_NAMES = ", ".join(service.name for service in SERVICES)
_SERVICE_VARIABLES = ", ".join(name for service in SERVICES for name in service.variables())


class ServerNames(click.ParamType[tuple[str, ...]]):
    name = "NAME,NAME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Any: click passes the text, or the default as it is."""
        names = tuple(str(value).split(",")) if isinstance(value, str) else tuple(value)
        if unknown := sorted(set(names) - set(SERVERS)):
            self.fail(f"unknown server {', '.join(map(repr, unknown))}; choose from: {', '.join(SERVERS)}", param, ctx)
        return names


# Any: click's decorators return the function with the type it has.
def stack_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that describe a stack; `parse_options` turns their values into Options."""
    for option in (
        click.option("--quiet", is_flag=True, help="Print errors only."),
        click.option("--management", is_flag=True, help="Serve RabbitMQ's HTTP API, at ROTARY_MANAGEMENT_URL."),
        click.option("--tls", is_flag=True, help="Serve RabbitMQ over TLS only; ROTARY_CA_FILE names the authority."),
        click.option("--no-migrate", is_flag=True, help="Do not create Rotary's tables."),
        click.option(
            "--only", type=ServerNames(), default=SERVERS, help=f"Start these servers only, of {', '.join(SERVERS)}."
        ),
        click.option(
            "--consumers",
            default=1,
            show_default=True,
            type=click.IntRange(0, 16),
            metavar="N",
            help="With --services: the number of consumers.",
        ),
        click.option("--services", is_flag=True, help=f"Run Rotary's services too: {_SERVICE_NAMES}."),
    ):
        function = option(function)
    return function


def parse_options(
    *, services: bool, consumers: int, only: tuple[str, ...], no_migrate: bool, tls: bool, management: bool
) -> Options:
    """Raises click.UsageError for options that exclude each other."""
    if services and set(only) != set(SERVERS):
        raise click.UsageError("--services needs every server: leave out --only")
    if services and no_migrate:
        raise click.UsageError("--services needs Rotary's tables: leave out --no-migrate")
    return Options(
        services=services, consumers=consumers, servers=only, migrate=not no_migrate, tls=tls, management=management
    )


_EXEC_HELP = f"""Run COMMAND inside a new stack and exit with its status.

The stack ends with COMMAND, and its data is deleted. COMMAND gets ROTARY_POSTGRES_URL, ROTARY_REDIS_URL and
ROTARY_RABBITMQ_URL, and with --services {_SERVICE_VARIABLES}. ROTARY_CONSUMER_OPS_URL has one
URL for each consumer, separated by spaces. Inside it, rotary-stack start, stop, kill, restart and status control this
stack.

\b
Examples:
  rotary-stack exec -- pytest tests/integration
  rotary-stack exec --services --consumers 2 -- bash
"""


@click.command(
    "exec", help=_EXEC_HELP, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@stack_options
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(command: tuple[str, ...], *, quiet: bool, **described: Any) -> None:
    options = parse_options(**described)
    if not is_command(command[0]):
        click.echo(f"rotary-stack: {command[0]}: command not found", err=True)
        sys.exit(127)

    async def main(signals: SignalHandler) -> int:
        async with Stack.open(options, report=silent if quiet else print_progress) as stack, serve_control(stack):
            return await run_command(command, stack.environ(), signals)

    sys.exit(run(main))


@click.command("up")
@stack_options
def up(*, quiet: bool, **described: Any) -> None:
    """Open a stack and keep it until Ctrl-C.

    Prints its variables as `export` lines. Paste them into another shell to reach the servers and to control the stack.
    """
    options = parse_options(**described)

    async def main(_: SignalHandler) -> int:
        report = silent if quiet else print_progress
        async with Stack.open(options, report=report) as stack, serve_control(stack):
            for name, value in stack.variables().items():
                click.echo(f"export {name}={shlex.quote(value)}")
            report("press Ctrl-C to end the stack and delete its data")
            await asyncio.Event().wait()
        return 0

    sys.exit(run(main))


def print_progress(line: str) -> None:
    """Prints to standard error: standard output belongs to the command."""
    click.secho(f"· {line}", dim=True, err=True)


def silent(_line: str) -> None:
    """Prints nothing."""
