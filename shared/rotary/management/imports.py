"""Bulk imports on record: the file, how far it is, what was wrong with it, and what it changed."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import asyncpg
import msgspec
from msgspec import Meta, Struct

from rotary.management.definitions_file.apply import Edit
from rotary.management.definitions_file.mistakes import InvalidFileError
from rotary.management.definitions_file.read import Format
from rotary.management.errors import NotFoundError
from rotary.management.pages import Page, PageRequest, fetch_page, page
from rotary.management.statements import statement
from rotary.postgres.connection import Connection, translate_errors

CHANNEL = "rotary_imports"
MAX_ATTEMPTS = 3
KEPT_DAYS = 30
ImportStatus = Literal["queued", "running", "succeeded", "failed"]


class ImportMistake(Struct, frozen=True):
    """One mistake of a file."""

    line: int | None
    field: str
    message: str


class ImportCount(Struct, frozen=True):
    """How many changes of one kind."""

    action: str
    what: str
    count: Annotated[int, Meta(ge=0)]


class Import(Struct, frozen=True):
    """An import. `errors` holds the first hundred of `error_count` mistakes."""

    id: int
    customer_id: int
    status: ImportStatus
    format: Format
    dry_run: bool
    rows_total: int
    rows_done: int
    changes: list[ImportCount]
    error_count: int
    errors: list[ImportMistake]
    created_at: datetime
    finished_at: datetime | None


class ImportChange(Struct, frozen=True):
    """One change that an import made, or would have made."""

    action: Literal["create", "update", "add", "reweight", "remove"]
    what: str
    name: str
    fields: list[str]


class ImportWork(Struct, frozen=True):
    """What a worker needs of an import."""

    id: int
    customer_id: int
    actor: str
    format: Format
    dry_run: bool
    content: bytes
    attempts: int


_counts = msgspec.json.Decoder(list[ImportCount]).decode
_mistakes = msgspec.json.Decoder(list[ImportMistake]).decode


async def create_import(
    connection: Connection, customer_id: int, form: Format, content: bytes, *, dry_run: bool
) -> Import:
    """Puts a file on record. A worker begins with it when the transaction is committed.

    What it changes is the audit log's as of whoever acts in this transaction.
    """
    with translate_errors(connection):
        row_id = await connection.fetchval(statement("create_import"), customer_id, form, dry_run, content)
    return await read_import(connection, row_id, customer_id)


async def find_imports(connection: Connection, customer_id: int, request: PageRequest) -> Page[Import]:
    """A page of a customer's imports, newest first."""
    rows, total = await fetch_page(connection, "find_imports", request, customer_id, None)
    return page([_import(row) for row in rows], total, request)


async def read_import(connection: Connection, import_id: int, owner: int) -> Import:
    """One import of a customer's. Raises NotFoundError."""
    with translate_errors(connection):
        row = await connection.fetchrow(statement("find_imports"), owner, import_id)
    if row is None:
        raise NotFoundError("id", f"import {import_id} does not exist")
    return _import(row)


async def find_import_changes(
    connection: Connection, import_id: int, owner: int, request: PageRequest
) -> Page[ImportChange]:
    """A page of what an import changed, or would have changed. Raises NotFoundError."""
    await read_import(connection, import_id, owner)
    rows, total = await fetch_page(connection, "find_import_changes", request, import_id)
    return page([ImportChange(*row) for row in rows], total, request)


async def open_imports(connection: Connection) -> list[int]:
    """The imports that are not finished, oldest first."""
    with translate_errors(connection):
        return [row["id"] for row in await connection.fetch(statement("open_imports"))]


async def begin_import(connection: Connection, import_id: int) -> ImportWork | None:
    """Takes an import for this connection, until it closes. None if it is finished, or another connection has it."""
    with translate_errors(connection):
        if not await connection.fetchval(statement("try_import"), import_id):
            return None
        row = await connection.fetchrow(statement("begin_import"), import_id)
    return None if row is None else ImportWork(*row)


async def record_progress(connection: Connection, import_id: int, total: int, done: int) -> None:
    """Records how many rows have been read and applied."""
    with translate_errors(connection):
        await connection.execute(statement("record_progress"), import_id, total, done)


async def finish_import(connection: Connection, import_id: int, edits: Sequence[Edit]) -> None:
    """Records that an import succeeded, and what it changed. In the transaction of the import: both, or neither."""
    counts = Counter((edit.action, edit.what) for edit in edits)
    summary = [ImportCount(action, what, count) for (action, what), count in counts.items()]
    with translate_errors(connection):
        await connection.copy_records_to_table(
            "import_changes",
            records=((import_id, at, edit.action, edit.what, edit.name, edit.fields) for at, edit in enumerate(edits)),
            columns=["import_id", "position", "action", "what", "name", "fields"],
        )
        await connection.execute(statement("finish_import"), import_id, msgspec.json.encode(summary).decode())


async def fail_import(connection: Connection, import_id: int, error: InvalidFileError | str) -> None:
    """Records why an import failed."""
    count, mistakes = 1, list[ImportMistake]()
    if isinstance(error, InvalidFileError):
        count = error.count
        mistakes = [ImportMistake(place.line, place.field, detail) for place, detail in error.mistakes]
    else:
        mistakes = [ImportMistake(None, "", error)]
    with translate_errors(connection):
        await connection.execute(statement("fail_import"), import_id, count, msgspec.json.encode(mistakes).decode())


async def forget_old_imports(connection: Connection) -> None:
    """Deletes the imports that finished more than 30 days ago. What they changed stays in the audit log."""
    with translate_errors(connection):
        await connection.execute(statement("forget_imports"), KEPT_DAYS)


def _import(row: asyncpg.Record) -> Import:
    fields: dict[str, Any] = dict(row.items())  # Any: columns are of all types
    fields["changes"] = _counts(fields["changes"] or "[]")
    fields["errors"] = _mistakes(fields["errors"] or "[]")
    return Import(**fields)
