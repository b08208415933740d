"""Starts a worker for each import that is on record, one after the other, on whichever replica is first."""

import asyncio
import os
import sys
from contextlib import suppress

import structlog

from rotary.errors import UnavailableError
from rotary.management.imports import CHANNEL, open_imports
from rotary.postgres.connection import Connection, connect, translate_errors
from rotary.runtime.settings import variable

POLL_SECONDS = 5.0
"""A notification may be lost, and a worker of another replica may have died."""
RETRY_SECONDS = 1.0
_log = structlog.get_logger("rotary_campaigns")


class ImportRunner:
    """Runs until cancelled; a worker under way is ended with it, and its import begins again elsewhere."""

    def __init__(self, postgres_url: str) -> None:
        self._url = postgres_url
        self._wake = asyncio.Event()
        self.started = 0
        """Workers started so far."""

    async def run(self) -> None:
        """Watches for imports, through any number of losses of PostgreSQL."""
        while True:
            try:
                connection = await connect(self._url)
                try:
                    await self._watch(connection)
                finally:
                    with suppress(OSError, TimeoutError):
                        await connection.close(timeout=2)
            except UnavailableError as error:
                _log.warning("not importing", reason=error.what)
            await asyncio.sleep(RETRY_SECONDS)

    async def _watch(self, connection: Connection) -> None:
        with translate_errors(connection):
            await connection.add_listener(CHANNEL, lambda *_: self._wake.set())
        while True:
            self._wake.clear()
            for import_id in await open_imports(connection):
                await self._work(import_id)
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._wake.wait()

    async def _work(self, import_id: int) -> None:
        self.started += 1
        environ = os.environ | {variable("postgres_url"): self._url}
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "rotary_campaigns.imports.worker", str(import_id), env=environ
        )
        try:
            if await worker.wait():
                _log.warning("import worker failed", import_id=import_id, status=worker.returncode)
        finally:
            if worker.returncode is None:
                await _end(worker)


async def _end(worker: asyncio.subprocess.Process) -> None:
    """Kills it, and returns when it has ended, however often that is cancelled: nothing is left behind."""
    worker.kill()
    ended = asyncio.ensure_future(worker.wait())
    while not ended.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(ended)
