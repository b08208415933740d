"""Parameters that several commands share, and the conversion of options to fields."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar, get_args

import click
import msgspec
from msgspec import Struct

from rotary.definitions import Carrier, RotationStrategy, Status
from rotary.management.errors import InvalidError, Violation
from rotary.management.fields import given
from rotary.management.validation import decode_fields
from rotary.runtime.cli import Failure

Decorator: TypeAlias = Callable[[Callable[..., None]], Callable[..., None]]
S = TypeVar("S", bound=Struct)

STRATEGIES = click.Choice(get_args(RotationStrategy))
STATUSES = click.Choice(get_args(Status))
CARRIERS = click.Choice(get_args(Carrier))
_ROW_IDS: click.ParamType[Any] = click.IntRange(min=1, max=2**63 - 1)  # Any: it converts text too.


class _RowId(click.ParamType[int]):
    """An id. Unlike IntRange it does not print its bounds in --help."""

    name = "ID"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return int(_ROW_IDS.convert(value, param, ctx))


ROW_ID = _RowId()

customer_option = click.option("--customer", "customer_id", type=ROW_ID, required=True, help="The customer's id.")
customer_filter = click.option("--customer", "customer_id", type=ROW_ID, help="Only this customer's.")


def options(*decorators: Decorator) -> Decorator:
    """Combines options into one decorator. --help lists them in this order."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(decorators):
            command = option(command)
        return command

    return decorate


def fields_from(kind: type[S], values: Mapping[str, object]) -> S:
    """The options that were given (not None) as a `kind`; an empty text is null. Exits with 2 for invalid values."""
    fields = {name: None if value == "" else value for name, value in values.items() if value is not None}
    try:
        return decode_fields(kind, fields)
    except InvalidError as error:
        raise click.UsageError("\n".join(map(_by_option, error.violations))) from None


def require_changes(fields: S) -> S:
    """The fields. Raises Failure if none is given."""
    if not given(fields):
        raise Failure("nothing to change: specify at least one option (see --help)")
    return fields


def _by_option(violation: Violation) -> str:
    """`--daily-cap: Expected …`; the option is the path's first field."""
    option = violation.field.partition(".")[0].replace("_", "-")
    return f"--{option}: {violation.detail}" if option else violation.detail


def json_value(text: str | None, option: str) -> object:
    """The value of an option that takes JSON."""
    try:
        return None if text is None else msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise click.BadParameter(str(error), param_hint=option) from None
