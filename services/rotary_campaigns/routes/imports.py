"""Bulk imports."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
from msgspec import Struct

from rotary.definitions import MANAGE_SCOPE
from rotary.management import imports as model
from rotary.management.definitions_file.read import Format
from rotary_campaigns.http import operations
from rotary_campaigns.http.operations import Call, Operation, RawBody, Reply, Section
from rotary_campaigns.http.rows import lists, page_reply
from rotary_campaigns.http.schemas import Import, ImportChange, shown

MAX_FILE_BYTES = 32 * 2**20
LOOK_SECONDS = 0.25
QUIET_SECONDS = 15.0
"""After so long without news a comment keeps the connection open."""
_SECTION = Section("/api/management/imports", "Imports", MANAGE_SCOPE, "Import not found.")
_FORMATS: dict[str, Format] = {
    "text/csv": "csv",
    "application/yaml": "yaml",
    "application/json": "yaml",  # which it is a subset of
}


class ImportQuery(Struct, frozen=True):
    """Whether to change anything."""

    dry_run: bool = False


async def create_import(call: Call) -> Reply:
    """A new import, which a worker begins with at once."""
    body: RawBody = call.body
    form = _FORMATS[body.content_type]
    row = await model.create_import(call.connection, call.customer_id, form, body.content, dry_run=call.query.dry_run)
    return Reply(shown(Import, row), location=f"{_SECTION.path}/{row.id}")


async def read_import(call: Call) -> Reply:
    """One import as it is now."""
    return Reply(shown(Import, await model.read_import(call.connection, call.row_id, call.customer_id)))


async def list_import_changes(call: Call) -> Reply:
    """A page of what it changed."""
    found = await model.find_import_changes(call.connection, call.row_id, call.customer_id, call.query)
    return page_reply(ImportChange, found)


async def watch_import(call: Call) -> AsyncIterator[bytes]:
    """The import as events: `progress` at once and whenever it has changed, `finished` as the last."""
    told, quiet_since = b"", asyncio.get_running_loop().time()
    while True:
        async with call.parts.database.reading() as connection:
            row = await model.read_import(connection, call.row_id, call.customer_id)
        body = msgspec.json.encode(shown(Import, row))
        is_over, now = row.finished_at is not None, asyncio.get_running_loop().time()
        if body != told or is_over:
            yield b"event: %b\ndata: %b\n\n" % (b"finished" if is_over else b"progress", body)
            told, quiet_since = body, now
        elif now - quiet_since >= QUIET_SECONDS:
            yield b":\n\n"
            quiet_since = now
        if is_over:
            return
        await asyncio.sleep(LOOK_SECONDS)


RESOURCES = (
    _SECTION.resource(
        "imports",
        "",
        operations.page(
            name="listImports",
            summary="List your imports",
            description="Newest first.",
            handler=lists(Import, model.find_imports),
            answer=Import,
        ),
        Operation(
            method="POST",
            name="createImport",
            summary="Import caller IDs, groups and members",
            description=(
                "A CSV, YAML or JSON file in the form of `rotary-admin export`; a line or an entry without a "
                "customer is yours. All of it is applied, or nothing. With `dry_run=true` nothing is changed, and "
                "the changes can be read as if. The answer comes at once; read or watch the import."
            ),
            handler=create_import,
            body=RawBody,
            content_types=tuple(_FORMATS),
            query=ImportQuery,
            answer=Import,
            status=202,
            is_idempotent=True,
            max_body_bytes=MAX_FILE_BYTES,
        ),
    ),
    _SECTION.resource(
        "import",
        "/{import_id}",
        operations.read(
            name="getImport",
            summary="Read or watch an import",
            description=(
                "With `Accept: text/event-stream`, server-sent events: `progress` with this body at once and after "
                "each change, then `finished`. A failed import has changed nothing; `errors` names the lines."
            ),
            handler=read_import,
            answer=Import,
            stream=watch_import,
        ),
    ),
    _SECTION.resource(
        "import_changes",
        "/{import_id}/changes",
        operations.page(
            name="listImportChanges",
            summary="Read what an import changed",
            description="In the order in which it was written. Of a dry run: what it would have changed.",
            handler=list_import_changes,
            answer=ImportChange,
        ),
    ),
)
