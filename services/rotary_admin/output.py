"""Standard output: aligned rows for people, JSON for programs. Refusals as one-line errors."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import click
import msgspec
from msgspec import Struct
from rich.cells import cell_len

from rotary.errors import RotaryError
from rotary.management.errors import NotFoundError
from rotary.runtime.cli import CommandLine, Failure

_encoder = msgspec.json.Encoder(order=None)


class AdminCommandLine(CommandLine):
    """The root command. Its errors about missing rows list the rows that exist."""

    def explain(self, error: RotaryError | OSError) -> Failure:
        if isinstance(error, NotFoundError) and error.hint:
            return Failure(f"{error}; {error.hint}")
        return super().explain(error)


def print_object(value: Struct | Mapping[str, object]) -> None:
    """Prints one indented JSON object."""
    click.echo(msgspec.json.format(_encoder.encode(value), indent=2))


def print_rows(rows: Sequence[Struct], kind: type[Struct], *, as_json: bool, empty: str) -> None:
    """Prints Structs of one type as a JSON array, or as columns under the field names. `empty` replaces no rows."""
    if as_json:
        click.echo(msgspec.json.format(_encoder.encode(rows), indent=2))
    elif not rows:
        click.echo(empty, err=True)
    else:
        names = kind.__struct_fields__
        _print_columns([[name.upper().replace("_", " ") for name in names], *(_cells(row, names) for row in rows)])


def print_fields(value: Struct, names: Sequence[str]) -> None:
    """Prints these fields of a Struct, one per line."""
    _print_columns([[f"{name}:", cell] for name, cell in zip(names, _cells(value, names), strict=True)])


def _print_columns(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def _cells(row: Struct, names: Sequence[str]) -> list[str]:
    return [_cell(getattr(row, name)) for name in names]


def _cell(value: object) -> str:
    match value:
        case None | () | []:
            return "-"
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        case list() | tuple():
            return ",".join(map(str, value))
        case dict() | Struct():
            return _encoder.encode(value).decode()
    return str(value)
