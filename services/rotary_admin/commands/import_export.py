"""`rotary-admin import` and `rotary-admin export`."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TextIO

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

from rotary.postgres.connection import Connection
from rotary_admin.context import on_database
from rotary.management.lookups import require_customer
from rotary.management.definitions_file.export import read_definitions, to_csv, to_yaml
from rotary.management.definitions_file.apply import Edit, import_source
from rotary_admin.params import ROW_ID
from rotary_admin.output import print_object
from rotary.runtime.cli import confirm, json_option, yes_option
from rotary.management.definitions_file.read import Source, read_source

_FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
_SHOWN = 50
_PAST = {"create": "created", "update": "updated", "add": "added", "reweight": "reweighted", "remove": "removed"}


@click.command("import")
@click.argument("path", metavar="FILE", type=_FILE)
@click.option("--dry-run", is_flag=True, help="Say what would change; change nothing.")
@yes_option
@json_option
@on_database
async def import_file(connection: Connection, /, *, path: Path, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Bring the database to what FILE says: .csv, or YAML under any other name.

    All of it or nothing. Rows are known by id where FILE gives one, else by name or number; those it does not name
    stay. A group's members in YAML are all its members, and it is asked before any is removed; CSV only adds.
    All mistakes of FILE are told at once. The first 50 changes are listed, with --json all of them.
    """
    with _progress("reading") as reading:
        source = read_source(path)
        edits = await _attempt(connection, source, reading, lambda edits: not dry_run and (yes or not _removed(edits)))
    if _removed(edits) and not dry_run and not yes:
        # Asked while nothing is locked: the attempt was rolled back.
        _print_edits([edit for edit in edits if edit.action == "remove"], err=True)
        confirm(f"Remove {_removed(edits)} members?", yes)
        with _progress("writing") as writing:
            edits = await _attempt(connection, source, writing, lambda _: True)
    if as_json:
        print_object({"dry_run": dry_run, "changes": edits})
    else:
        _print_edits(edits)
        click.echo(_total(edits) + (" (dry run: nothing was changed)" if dry_run else ""))


@click.command()
@click.option("--customer", "customer_id", type=ROW_ID, metavar="ID", help="Only this customer's.")
@click.option("--format", "form", type=click.Choice(["yaml", "csv", "json"]), default="yaml", show_default=True)
@click.option(
    "--output",
    "-o",
    type=click.File("w", encoding="utf-8", lazy=True, atomic=True),
    help="Write to this file.",
)
@on_database
async def export(connection: Connection, /, *, customer_id: int | None, form: str, output: TextIO | None) -> None:
    """Write all definitions but tokens, in the form that import reads."""
    if customer_id is not None:
        await require_customer(connection, customer_id)
    definitions = await read_definitions(connection, customer_id)
    match form:
        case "yaml":
            text = to_yaml(definitions)
        case "csv":
            text = to_csv(definitions)
        case _:
            text = msgspec.json.format(msgspec.json.encode(definitions), indent=2).decode() + "\n"
    click.echo(text, file=output, nl=False)


async def _attempt(
    connection: Connection, source: Source, progress: Progress, keep: Callable[[list[Edit]], bool]
) -> list[Edit]:
    """Imports, and takes it back unless `keep` agrees with what changed."""
    (task,) = progress.task_ids
    progress.update(task, description="writing", total=source.rows, completed=0)
    transaction = connection.transaction()
    await transaction.start()
    edits = await import_source(connection, source, partial(progress.advance, task))
    await (transaction.commit() if keep(edits) else transaction.rollback())
    return edits


@contextmanager
def _progress(what: str) -> Iterator[Progress]:
    """A bar on standard error while a person looks at it, else nothing."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        progress.add_task(what, total=None)
        yield progress


def _removed(edits: Sequence[Edit]) -> int:
    return sum(edit.action == "remove" for edit in edits)


def _print_edits(edits: Sequence[Edit], *, err: bool = False) -> None:
    for edit in edits[:_SHOWN]:
        fields = f": {', '.join(edit.fields)}" if edit.fields else ""
        click.echo(f"{edit.action} {edit.what} {edit.name}{fields}", err=err)
    if len(edits) > _SHOWN:
        click.echo(f"… and {len(edits) - _SHOWN:,} more", err=err)


def _total(edits: Sequence[Edit]) -> str:
    counts = Counter((_PAST[edit.action], edit.what) for edit in edits)
    told = ", ".join(f"{done} {count} {what}{'s' * (count > 1)}" for (done, what), count in counts.items())
    return told or "nothing to change"
