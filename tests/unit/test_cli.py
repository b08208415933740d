"""Command lines report expected errors on one line with an exit code, and keep the traceback of a defect."""

import errno

import click
import pytest
from click.testing import CliRunner

from rotary.errors import ConfigurationError, RotaryError, UnavailableError
from rotary.runtime.cli import CommandLine, Failure, confirm, yes_option


def command_line(error: Exception | None = None) -> click.Group:
    """A program with one subcommand in a group, which raises `error` or asks for confirmation."""

    @click.group("rotary-test", cls=CommandLine)
    def root() -> None: ...

    @root.group()
    def thing() -> None: ...

    @thing.command()
    @yes_option
    def act(yes: bool) -> None:
        if error is not None:
            raise error
        confirm("Act?", yes)
        click.echo("acted")

    return root


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ConfigurationError("ROTARY_X is not set"), 2, "ROTARY_X is not set"),
        (UnavailableError("Redis is away"), 1, "Redis is away"),
        (RotaryError("refused"), 1, "refused"),
        (Failure("no such thing"), 1, "no such thing"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), 1, "[Errno 2] No such file: 'x'"),
        (TimeoutError(), 1, "TimeoutError"),
    ],
)
def test_an_expected_error_is_one_line_with_the_programs_name(error: Exception, code: int, message: str) -> None:
    result = CliRunner().invoke(command_line(error), ["thing", "act"])
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", f"rotary-test: {message}\n")


def test_a_defect_keeps_its_traceback() -> None:
    result = CliRunner().invoke(command_line(ZeroDivisionError()), ["thing", "act"])
    assert isinstance(result.exception, ZeroDivisionError)


def test_a_reader_that_went_away_ends_the_program_silently() -> None:
    result = CliRunner().invoke(command_line(BrokenPipeError(errno.EPIPE, "Broken pipe")), ["thing", "act"])
    assert (result.exit_code, result.stderr) == (1, "")


@pytest.mark.parametrize(
    ("options", "answer", "code", "output"),
    [
        ((), "y\n", 0, "acted\n"),
        (("--yes",), None, 0, "acted\n"),
        ((), "n\n", 1, ""),
        ((), "", 1, ""),
    ],
)
def test_nothing_happens_without_consent(options: tuple[str, ...], answer: str | None, code: int, output: str) -> None:
    result = CliRunner().invoke(command_line(), ["thing", "act", *options], input=answer)
    assert (result.exit_code, result.stdout) == (code, output)
    assert ("nothing was changed" in result.stderr) == (code == 1)


def test_an_ended_input_names_the_flag_that_skips_the_prompt() -> None:
    result = CliRunner().invoke(command_line(), ["thing", "act"], input="")
    assert result.stderr.splitlines()[-1] == "rotary-test: nothing was changed; pass --yes to skip the prompt"
