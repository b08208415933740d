"""What the options of several commands have in common."""

from collections.abc import Callable, Mapping
from typing import TypeAlias, get_args

import click
import msgspec
from msgspec import Struct

from rotary.definitions import Carrier, RotationStrategy, Status
from rotary.management.validation import mistakes
from rotary.management.definitions_file.schema import Name

Decorator: TypeAlias = Callable[[Callable[..., None]], Callable[..., None]]

STRATEGIES = click.Choice(get_args(RotationStrategy))
STATUSES = click.Choice(get_args(Status))
CARRIERS = click.Choice(get_args(Carrier))
ROW_ID = click.IntRange(min=1, max=2**63 - 1)

customer_option = click.option("--customer", "customer_id", type=ROW_ID, required=True, metavar="ID")


def options(*several: Decorator) -> Decorator:
    """Several options as one decorator, in the order in which --help lists them."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(several):
            command = option(command)
        return command

    return decorate


def values_of(kind: type[Struct], stated: Mapping[str, object]) -> dict[str, object]:
    """Columns from the options that were given (not None), refused as in a file; an empty text is null."""
    fields = {name: None if value == "" else value for name, value in stated.items() if value is not None}
    # A change may leave out what an entry must have, its number or name: something stands in while it is checked.
    absent = [field.name for field in msgspec.structs.fields(kind) if field.required and field.name not in fields]
    whole = fields | dict.fromkeys(absent, "000")
    if wrong := list(mistakes(kind, whole, "")):
        raise click.UsageError("\n".join(_by_option(where, what) for where, what in wrong))
    entry = msgspec.convert(whole, kind, strict=False)
    return {name: getattr(entry, name) for name in fields}


def _by_option(where: str, what: str) -> str:
    option = where.split(".")[1].replace("_", "-") if where else ""
    return f"--{option}: {what}" if option else what


def plain_name(name: str) -> str:
    """A token's name, refused as the names in a file are."""
    if wrong := list(mistakes(Name, name, "")):
        raise click.UsageError(f"--name: {wrong[0][1]}")
    return name


def json_of(text: str | None, option: str) -> object:
    """The value of an option that takes JSON."""
    try:
        return None if text is None else msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise click.BadParameter(str(error), param_hint=option) from None
