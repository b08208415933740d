"""Applies one import: `python -m rotary_campaigns.imports.worker ID`.

A process of its own, because reading a hundred thousand rows keeps the interpreter busy for seconds, and what that took
of memory is given back at its end. It can be killed at any time: the import is one transaction, which also records that
it is done, and another worker begins again.
"""

import asyncio
import os
import sys
from contextlib import suppress

import structlog
from msgspec import Struct

from rotary.errors import RotaryError
from rotary.management.actor import act_as
from rotary.management.definitions_file.apply import Edit, apply_source, count_anew
from rotary.management.definitions_file.mistakes import InvalidFileError
from rotary.management.definitions_file.read import Source, read_content
from rotary.management.errors import RefusedError
from rotary.management.imports import (
    MAX_ATTEMPTS,
    ImportWork,
    begin_import,
    fail_import,
    finish_import,
    record_progress,
)
from rotary.postgres.connection import Connection, connect
from rotary.runtime import logs
from rotary.runtime.program import cancel_and_wait
from rotary.runtime.settings import PostgresUrl, load

PROGRESS_SECONDS = 0.25
FILE = "upload"
"""What mistakes call the file. Readers are shown the line and the field alone."""
GIVEN_UP = "The import ended unexpectedly three times. Nothing was changed."
_log = structlog.get_logger("rotary_campaigns")


class WorkerSettings(Struct, frozen=True):
    """What a worker needs."""

    postgres_url: PostgresUrl


class Progress:
    """How far an import is, recorded on a connection that is not in its transaction."""

    def __init__(self, connection: Connection, import_id: int) -> None:
        self._connection = connection
        self._import_id = import_id
        self.total = self.done = 0

    def advance(self, rows: int) -> None:
        """So many more rows are applied."""
        self.done += rows

    async def record(self) -> None:
        """Records it as it is now."""
        await record_progress(self._connection, self._import_id, self.total, min(self.done, self.total))

    async def run(self) -> None:
        """Records it now and then, until cancelled."""
        while True:
            await self.record()
            await asyncio.sleep(PROGRESS_SECONDS)


async def run_import(url: str, import_id: int) -> None:
    """Applies an import, unless it is finished or another worker has it. Raises UnavailableError."""
    connection, second = await connect(url), await connect(url)
    try:
        work = await begin_import(connection, import_id)
        if work is not None:
            await _run(connection, work, Progress(second, import_id))
    finally:
        for opened in (connection, second):
            with suppress(OSError, TimeoutError):
                await opened.close(timeout=5)


async def _run(connection: Connection, work: ImportWork, progress: Progress) -> None:
    if work.attempts > MAX_ATTEMPTS:
        await fail_import(connection, work.id, GIVEN_UP)
        return
    try:
        source = await asyncio.to_thread(read_content, FILE, work.content, work.format, work.customer_id)
        progress.total = source.rows
        await progress.record()
        await _apply(connection, work, source, progress)
    except InvalidFileError as error:
        await fail_import(connection, work.id, error)
    except RefusedError as error:  # somebody changed a row meanwhile
        await fail_import(connection, work.id, error.detail)


async def _apply(connection: Connection, work: ImportWork, source: Source, progress: Progress) -> None:
    recording = asyncio.create_task(progress.run())
    transaction = connection.transaction()
    await transaction.start()
    try:
        await act_as(connection, f"import {work.id} by {work.actor}")
        edits: list[Edit] = await apply_source(connection, source, progress.advance)
        await cancel_and_wait(recording)
        await progress.record()
        if work.dry_run:
            await transaction.rollback()
            transaction = connection.transaction()
            await transaction.start()
        else:
            await count_anew(connection, edits)
        await finish_import(connection, work.id, edits)
    except BaseException:
        await transaction.rollback()
        raise
    else:
        await transaction.commit()
    finally:
        await cancel_and_wait(recording)


def main() -> None:
    """The program."""
    logs.configure()
    try:
        asyncio.run(run_import(load(WorkerSettings, os.environ).postgres_url, int(sys.argv[1])))
    except RotaryError as error:
        _log.warning("import interrupted", import_id=sys.argv[1], reason=str(error))
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
