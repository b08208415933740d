"""The commands that open a stack: `exec` and `up`. Loaded only for them, because the servers' clients come along."""

import asyncio
import shlex
import sys
from collections.abc import Callable
from typing import Any

import click

from rotary_stack.control.server import controlled
from rotary_stack.foreground import found, run_command
from rotary_stack.signals import Interrupts, run
from rotary_stack.stack import SERVERS, Options, Stack


class ServerNames(click.ParamType[tuple[str, ...]]):
    name = "NAME,NAME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Any: click hands over the text, or the default as it is."""
        names = tuple(str(value).split(",")) if isinstance(value, str) else tuple(value)
        if unknown := set(names) - set(SERVERS):
            self.fail(f"{', '.join(sorted(unknown))}: no such server, there are {', '.join(SERVERS)}", param, ctx)
        return names


# Any: click's decorators leave the function as it is, whatever it takes.
def composed(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say what the stack is made of; `composition` turns them into Options."""
    for option in (
        click.option("--quiet", is_flag=True, help="Say nothing but errors."),
        click.option("--management", is_flag=True, help="RabbitMQ's HTTP API too, at ROTARY_MANAGEMENT_URL."),
        click.option("--tls", is_flag=True, help="RabbitMQ by TLS alone (amqps), trusted by ROTARY_CA_FILE."),
        click.option("--no-migrate", is_flag=True, help="Leave the database empty."),
        click.option("--only", type=ServerNames(), default=SERVERS, help="Start these servers and no others."),
        click.option("--consumers", default=1, show_default=True, type=click.IntRange(0, 16), metavar="N"),
        click.option("--services", is_flag=True, help="Run consumers and a query service too."),
    ):
        function = option(function)
    return function


def composition(
    *, services: bool, consumers: int, only: tuple[str, ...], no_migrate: bool, tls: bool, management: bool
) -> Options:
    """Raises click.UsageError for services without the servers they need."""
    if services and set(only) != set(SERVERS):
        raise click.UsageError("--services needs every server: leave out --only")
    return Options(
        services=services, consumers=consumers, servers=only, migrate=not no_migrate, tls=tls, management=management
    )


@click.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@composed
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(command: tuple[str, ...], *, quiet: bool, **composing: Any) -> None:
    """Run COMMAND inside a new stack and exit with its status.

    COMMAND is given ROTARY_POSTGRES_URL, ROTARY_REDIS_URL, ROTARY_RABBITMQ_URL, and with --services ROTARY_API_URL,
    ROTARY_OPS_URL and ROTARY_CONSUMER_OPS_URL (one for each consumer, separated by spaces). Inside it the commands
    start, stop, kill, restart and status reach this stack.
    """
    options = composition(**composing)
    if not found(command[0]):
        click.echo(f"rotary-stack: {command[0]}: command not found", err=True)
        sys.exit(127)

    async def main(interrupts: Interrupts) -> int:
        async with Stack.open(options, say=silent if quiet else say) as stack, controlled(stack):
            return await run_command(command, stack.environ(), interrupts)

    sys.exit(run(main))


@click.command("up")
@composed
def up(*, quiet: bool, **composing: Any) -> None:
    """Open a stack and keep it until Ctrl-C; print its variables in a form for a shell's eval."""
    options = composition(**composing)

    async def main(_: Interrupts) -> int:
        async with Stack.open(options, say=silent if quiet else say) as stack, controlled(stack):
            for name, value in stack.variables().items():
                click.echo(f"export {name}={shlex.quote(value)}")
            await asyncio.Event().wait()
        return 0

    sys.exit(run(main))


def say(line: str) -> None:
    """One line of progress, on standard error: standard output belongs to the command."""
    click.secho(f"· {line}", dim=True, err=True)


def silent(line: str) -> None:
    """Takes a line of progress and keeps it."""
