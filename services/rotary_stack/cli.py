"""The command line of `rotary-stack`. The commands that control a running stack are here."""

import os
import sys

import click
import msgspec

from rotary import __version__
from rotary.errors import RotaryError
from rotary.programs import load
from rotary_stack.control.client import send
from rotary_stack.control.messages import Request, Status

# Imported on use, with the clients of all servers: a test that kills a server forty times starts this program as often.
_LAZY_COMMANDS = {
    "exec": ("rotary_stack.commands", "exec_"),
    "up": ("rotary_stack.commands", "up"),
    "demo": ("rotary_demo.cli", "demo"),
}


class LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_LAZY_COMMANDS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _LAZY_COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, name = _LAZY_COMMANDS[cmd_name]
        command: click.Command = getattr(load(module), name)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="rotary-stack")
def cli() -> None:
    """Run private, disposable PostgreSQL, Redis and RabbitMQ servers, and Rotary's services on them.

    The commands demo, exec and up open a stack. The others control it: run them inside `rotary-stack exec`, or in a
    shell with the variables that `rotary-stack up` prints.
    """


@cli.command()
@click.argument("name")
@click.option("--empty", is_flag=True, help="Delete its data first.")
def start(name: str, *, empty: bool) -> None:
    """Start the process NAME and wait until it answers.

    It keeps its port and its data. `rotary-stack status` lists the names; a service that runs several times, such as
    consumer-1 and consumer-2, has a name for all of them: consumer.
    """
    send(Request("start", name, empty), os.environ)


@cli.command()
@click.argument("name")
@click.option("--empty", is_flag=True, help="Delete its data in between.")
def restart(name: str, *, empty: bool) -> None:
    """Stop the process NAME, start it again, and wait until it answers."""
    send(Request("restart", name, empty), os.environ)


@cli.command()
@click.argument("name")
def stop(name: str) -> None:
    """Stop the process NAME cleanly and wait until it has exited."""
    send(Request("stop", name), os.environ)


@cli.command()
@click.argument("name")
def kill(name: str) -> None:
    """Kill the process NAME with SIGKILL, as a crash would."""
    send(Request("kill", name), os.environ)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with directories, logs and variables.")
def status(*, as_json: bool) -> None:
    """List the processes of the stack around this command."""
    current = send(Request("status"), os.environ)
    click.echo(msgspec.json.format(msgspec.json.encode(current)).decode() if as_json else _table(current))


def _table(current: Status) -> str:
    rows = [("NAME", "STATE", "PID", "URL")]
    rows += [(one.name, one.state, str(one.pid or "-"), one.url) for one in current.programs.values()]
    name, state, pid = (max(len(row[column]) for row in rows) for column in range(3))
    return "\n".join(f"{row[0]:<{name}}  {row[1]:<{state}}  {row[2]:<{pid}}  {row[3]}" for row in rows)


def main() -> None:
    try:
        cli(prog_name="rotary-stack")
    except RotaryError as error:
        click.echo(f"rotary-stack: {error}", err=True)
        sys.exit(1)
