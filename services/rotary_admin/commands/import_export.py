"""`rotary-admin import` and `rotary-admin export`."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TextIO

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

from rotary.management.definitions_file.apply import Edit, apply_source, count_anew
from rotary.management.definitions_file.export import read_definitions, to_csv, to_json, to_yaml
from rotary.management.definitions_file.read import Source, read_source
from rotary.management.lookups import require_customer
from rotary.postgres.connection import Connection
from rotary.runtime.cli import confirm, json_option, yes_option
from rotary_admin.context import with_database
from rotary_admin.output import print_object
from rotary_admin.params import customer_filter

_FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
_MAX_LISTED = 50
_DONE = {"create": "created", "update": "updated", "add": "added", "reweight": "reweighted", "remove": "removed"}


@click.command("import")
@click.argument("path", metavar="FILE", type=_FILE)
@click.option("--dry-run", is_flag=True, help="Show what would change, without changing it.")
@yes_option
@json_option
@with_database
async def import_file(connection: Connection, /, *, path: Path, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Apply FILE to the database: CSV if its name ends in .csv, else YAML or JSON.

    Applies all of FILE or nothing. Rows are identified by id if FILE has one, else by name or number. Rows that FILE
    does not name stay unchanged. In YAML a group's list of members is complete: others are removed, after
    confirmation. CSV only adds members. All mistakes are reported at once. Lists the first 50 changes; --json lists
    all.
    """
    with _progress("reading") as reading:
        source = read_source(path)
        edits = await _attempt(connection, source, reading, lambda edits: not dry_run and (yes or not _removed(edits)))
    if _removed(edits) and not dry_run and not yes:
        # Nothing is locked while we ask: the first attempt was rolled back.
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
@customer_filter
@click.option("--format", "form", type=click.Choice(["yaml", "csv", "json"]), default="yaml", show_default=True)
@click.option(
    "--output",
    "-o",
    type=click.File("w", encoding="utf-8", lazy=True, atomic=True),
    help="Write to this file instead of standard output.",
)
@with_database
async def export(connection: Connection, /, *, customer_id: int | None, form: str, output: TextIO | None) -> None:
    """Print all definitions except tokens, in a form that import reads."""
    if customer_id is not None:
        await require_customer(connection, customer_id)
    definitions = await read_definitions(connection, customer_id)
    match form:
        case "yaml":
            text = to_yaml(definitions)
        case "csv":
            text = to_csv(definitions)
        case _:
            text = to_json(definitions)
    click.echo(text, file=output, nl=False)


async def _attempt(
    connection: Connection, source: Source, progress: Progress, keep: Callable[[list[Edit]], bool]
) -> list[Edit]:
    """Imports in a transaction; commits it if `keep` accepts the changes, else rolls it back."""
    (task,) = progress.task_ids
    progress.update(task, description="writing", total=source.rows, completed=0)
    transaction = connection.transaction()
    await transaction.start()
    edits = await apply_source(connection, source, partial(progress.advance, task))
    if keep(edits):
        await count_anew(connection, edits)
        await transaction.commit()
    else:
        await transaction.rollback()
    return edits


@contextmanager
def _progress(what: str) -> Iterator[Progress]:
    """A progress bar on standard error, if that is a terminal."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        progress.add_task(what, total=None)
        yield progress


def _removed(edits: Sequence[Edit]) -> int:
    return sum(edit.action == "remove" for edit in edits)


def _print_edits(edits: Sequence[Edit], *, err: bool = False) -> None:
    for edit in edits[:_MAX_LISTED]:
        fields = f": {', '.join(edit.fields)}" if edit.fields else ""
        click.echo(f"{edit.action} {edit.what} {edit.name}{fields}", err=err)
    if len(edits) > _MAX_LISTED:
        click.echo(f"… and {len(edits) - _MAX_LISTED:,} more", err=err)


def _total(edits: Sequence[Edit]) -> str:
    counts = Counter((_DONE[edit.action], edit.what) for edit in edits)
    summary = ", ".join(f"{done} {count} {what}{'s' * (count > 1)}" for (done, what), count in counts.items())
    return summary or "nothing to change"
