"""What the commands share: errors in one line, and the options for the broker."""

import errno
import socket
from collections.abc import Callable
from functools import wraps
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit

import click

from rotary.errors import ConfigurationError, RotaryError, UnavailableError
from rotary.publisher import PublishError
from rotary.tls import client_context, with_ca_file

F = TypeVar("F", bound=Callable[..., None])


class CommandError(click.ClickException):
    """A command failed; the message says why. Exit status 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Prints one line to standard error."""
        click.echo(f"rotary-dialer: {printable(self.message)}", file=file, err=file is None)


class SettingError(CommandError):
    """A setting is missing or invalid. Exit status 2."""

    exit_code = 2


def printable(text: str) -> str:
    """The text on one line, with control characters escaped: text from a file must not control the terminal."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


class CommandGroup(click.Group):
    """Prints expected errors in one line. A bug still prints its traceback."""

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command named on the command line."""
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            raise SettingError(str(error)) from error
        except UnavailableError as error:
            raise CommandError(error.what) from error
        except PublishError as error:
            raise CommandError(error.reason) from error
        except RotaryError as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of our output is gone; click exits silently
                raise
            raise CommandError(str(error)) from error


def broker_options(command: F) -> Callable[..., None]:
    """Adds --url, --customer and --source as `url`, `customer_id` and `source`. --ca-file becomes part of the URL."""
    url = click.option(
        "--url",
        envvar="ROTARY_RABBITMQ_URL",
        required=True,
        callback=_checked_url,
        help="The broker, as amqps://user:password@host. [env: ROTARY_RABBITMQ_URL]",
    )
    customer = click.option(
        "--customer",
        "customer_id",
        envvar="ROTARY_CUSTOMER",
        required=True,
        type=click.IntRange(min=1, max=2**63 - 1),
        help="Your customer number in Rotary. [env: ROTARY_CUSTOMER]",
    )
    source = click.option(
        "--source",
        envvar="ROTARY_SOURCE",
        default=lambda: f"/dialers/{socket.gethostname()}",
        help="The name of the dialer, part of each event's identity. [env: ROTARY_SOURCE; default: /dialers/HOSTNAME]",
    )
    ca_file = click.option(
        "--ca-file",
        envvar="ROTARY_CA_FILE",
        default="",
        metavar="FILE",
        help="PEM file of the broker's certificate authority. [env: ROTARY_CA_FILE; default: the system's]",
    )

    @wraps(command)
    def run(*, url: str, ca_file: str, **others: object) -> None:
        if ca_file:
            client_context(ca_file)  # report an unreadable file before connecting
        command(url=with_ca_file(url, ca_file), **others)

    return url(customer(source(ca_file(run))))


def deadline_option(command: F) -> F:
    """Adds --deadline as `deadline`, in seconds."""
    return click.option(
        "--deadline",
        default=30.0,
        show_default=True,
        type=click.FloatRange(min=0, min_open=True),
        help="Seconds until an unconfirmed event fails, reconnects included.",
    )(command)


def _checked_url(context: click.Context, option: click.Parameter, url: str) -> str:  # noqa: ARG001 - click's signature
    if not _is_amqp(url):
        raise click.BadParameter("invalid URL; expected amqp://user:password@host:port/vhost")
    return url


def _is_amqp(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"amqp", "amqps"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an invalid host, or a port that is not a number
        return False
