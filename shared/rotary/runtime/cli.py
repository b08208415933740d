"""What the command lines share: one-line errors, exit codes, confirmation prompts and common options.

Exit codes: 0 success, 1 the command could not do it, 2 wrong usage or a missing or invalid setting.
"""

import errno
from typing import IO, Any

import click

from rotary.errors import ConfigurationError, RotaryError, UnavailableError

EXIT_FAILED = 1
EXIT_MISCONFIGURED = 2

yes_option = click.option("--yes", is_flag=True, help="Skip the confirmation prompt.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class Failure(click.ClickException):
    """A command cannot do what was asked. The message says what happened and what to do. Exits with 1."""

    program = ""
    """The program's name, which precedes the message. CommandLine sets it."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Prints `program: message` on standard error."""
        click.echo(f"{self.program}: {self.message}", file=file, err=file is None)


class Misconfigured(Failure):
    """A setting is missing or invalid. Exits with 2."""

    exit_code = EXIT_MISCONFIGURED


class CommandLine(click.Group):
    """The root group of a program: prints expected errors on one line. A defect keeps its traceback.

    Subclasses override `explain` for errors of their own.
    """

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command named on the command line."""
        try:
            return self._run(ctx)
        except Failure as failure:
            failure.program = ctx.find_root().info_name or ""
            raise

    def _run(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (RotaryError, OSError) as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # The reader of our output is gone: click exits silently.
            raise self.explain(error) from error

    def explain(self, error: RotaryError | OSError) -> Failure:
        """The one-line failure for an error."""
        match error:
            case ConfigurationError():
                return Misconfigured(str(error))
            case UnavailableError():
                return Failure(error.what)
            case _:
                return Failure(str(error) or type(error).__name__)


def confirm(question: str, yes: bool) -> None:  # noqa: FBT001  the value of the flag --yes
    """Asks for confirmation unless --yes was given. Raises Failure if the answer is no or standard input has ended."""
    if yes:
        return
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:
        click.echo(err=True)  # The prompt is still on the line.
        raise Failure("nothing was changed; pass --yes to skip the prompt") from None
    if not agreed:
        raise Failure("nothing was changed")
