"""What every command shares: how failures are told, and how to reach the broker."""

import errno
import socket
from collections.abc import Callable
from functools import wraps
from typing import IO, Any, TypeVar

import click
import msgspec

from rotary.errors import ConfigurationError, RotaryError, UnavailableError
from rotary.runtime.settings import RabbitUrl
from rotary.tls import client_context, with_ca_file

F = TypeVar("F", bound=Callable[..., None])


class Failure(click.ClickException):
    """A command cannot do what was asked; its message says what to do. Exit code 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        """One line on standard error."""
        click.echo(f"rotary-dialer: {printable(self.message)}", file=file, err=file is None)


class Misconfigured(Failure):
    """A setting is missing or has the wrong form."""

    exit_code = 2


def printable(text: str) -> str:
    """The text on one line, with what would move the cursor or colour the terminal escaped: it may come from a file."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


class Program(click.Group):
    """A command group that tells expected errors in one line; a defect of ours still shows its trace."""

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command named on the command line."""
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            raise Misconfigured(str(error)) from error
        except UnavailableError as error:
            raise Failure(error.what) from error
        except RotaryError as error:
            raise Failure(getattr(error, "reason", str(error))) from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # whoever reads our output has gone: click ends without a word
                raise
            raise Failure(str(error)) from error


def broker_options(command: F) -> Callable[..., None]:
    """--url, --customer and --source, as `url`, `customer_id` and `source`; --ca-file goes into the URL."""
    url = click.option(
        "--url",
        envvar="ROTARY_RABBITMQ_URL",
        required=True,
        callback=_checked_url,
        help="amqp:// or amqps://, with your user and password. [env: ROTARY_RABBITMQ_URL]",
    )
    customer = click.option(
        "--customer",
        "customer_id",
        envvar="ROTARY_CUSTOMER",
        required=True,
        type=click.IntRange(min=1, max=2**63 - 1),
        help="Your number with Rotary. [env: ROTARY_CUSTOMER]",
    )
    source = click.option(
        "--source",
        envvar="ROTARY_SOURCE",
        default=lambda: f"/dialers/{socket.gethostname()}",
        help="The dialer's name; (source, id) is an event's identity. [env: ROTARY_SOURCE; default: /dialers/HOSTNAME]",
    )
    ca_file = click.option(
        "--ca-file",
        envvar="ROTARY_CA_FILE",
        default="",
        metavar="FILE",
        help="Who vouches for the broker's certificate, PEM. [env: ROTARY_CA_FILE; default: the system's authorities]",
    )

    @wraps(command)
    def run(*, url: str, ca_file: str, **others: object) -> None:
        if ca_file:
            client_context(ca_file)  # to say now that it cannot be read
        command(url=with_ca_file(url, ca_file), **others)

    return url(customer(source(ca_file(run))))


def deadline_option(command: F) -> F:
    """--deadline, as `deadline`: seconds."""
    return click.option(
        "--deadline",
        default=30.0,
        show_default=True,
        type=click.FloatRange(min=0, min_open=True),
        help="Seconds an event may wait for its confirmation, reconnects included.",
    )(command)


def _checked_url(context: click.Context, option: click.Parameter, url: str) -> str:  # noqa: ARG001 - click's signature
    try:
        return msgspec.convert(url, RabbitUrl)
    except msgspec.ValidationError:
        raise click.BadParameter("give it as amqp://user:password@host:port/vhost") from None
