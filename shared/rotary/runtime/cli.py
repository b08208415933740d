"""What every command shares: how failures are told, and how a person is asked before something is destroyed."""

from typing import IO, Any

import asyncpg
import click

from rotary.errors import ConfigurationError, RotaryError, UnavailableError

_BROKEN_RULES = {
    "caller_ids_customer_id_number_key": "this customer has a caller ID with that number already",
    "caller_ids_customer_id_fkey": "there is no such customer",
    "caller_id_groups_customer_id_fkey": "there is no such customer",
    "api_tokens_customer_id_fkey": "there is no such customer",
    "member_caller_id_of_one_customer": "there is no such caller ID, or it is another customer's",
    "caller_ids_number_is_digits": "a number is 3 to 20 digits, with or without a leading +",
    "caller_ids_display_name_is_plain": "a display name holds no line break or other control character",
    "caller_ids_trunk_name_is_plain": "a trunk's name holds no line break or other control character",
    "caller_id_groups_name_is_plain": "a group's name holds no line break or other control character",
    "customers_name_is_plain": "a customer's name holds no line break or other control character",
    "api_tokens_name_is_plain": "a token's name holds no line break or other control character",
    "customers_pkey": "that customer id is taken",
    "caller_ids_pkey": "that caller ID's id is taken, perhaps by another customer",
    "caller_id_groups_pkey": "that group id is taken, perhaps by another customer",
}


class Failure(click.ClickException):
    """A command cannot do what was asked; its message says what to do. Exit code 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        """One line on standard error."""
        click.echo(f"rotary-admin: {self.message}", file=file, err=file is None)


class Misconfigured(Failure):
    """A setting is missing or has the wrong form."""

    exit_code = 2


class Program(click.Group):
    """A command group that tells expected errors in one line; a defect of ours still shows its trace."""

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command named on the command line."""
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            raise Misconfigured(str(error)) from error
        except UnavailableError as error:
            raise Failure(f"not available now: {error.what}") from error
        except RotaryError as error:
            raise Failure(str(error)) from error
        except (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError) as error:
            raise Failure(told(error)) from error


def told(error: asyncpg.PostgresError) -> str:
    """A refusal of the database in the words of somebody who does not know its constraints."""
    return _BROKEN_RULES.get(error.constraint_name or "", error.message or str(error))


def confirm(question: str, yes: bool) -> None:  # noqa: FBT001  it is the flag --yes itself
    """Asks, unless --yes was given. Raises Failure when the answer is no, or nobody is there to answer."""
    if yes:
        return
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:
        raise Failure("nothing was changed; give --yes to go ahead without being asked") from None
    if not agreed:
        raise Failure("nothing was changed")


yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
