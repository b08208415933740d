"""Notices definitions in Redis that went back, for instance to an older snapshot, also while Postgres is away."""

import asyncio

import structlog

from rotary.errors import UnavailableError
from rotary.redis.definition_writer import DefinitionWriter

_log = structlog.get_logger(__name__)

POLL_SECONDS = 1.0


class DefinitionsWatch:
    """Remembers the newest version of each part, and closes a part that shows an older one to readers.

    Runs in every consumer, projecting or not. One consumer is enough.
    """

    def __init__(self, writer: DefinitionWriter) -> None:
        self._writer = writer
        self._behind: set[str] = set()
        self.seen: dict[str, str] = {}

    async def run(self) -> None:
        """Checks once a second until cancelled."""
        while True:
            try:
                await self.look()
            except UnavailableError as error:
                _log.debug("definitions not watched", reason=error.what)
            await asyncio.sleep(POLL_SECONDS)

    async def look(self) -> None:
        """Checks once."""
        newest = await self._writer.close_older(self.seen)
        behind = {part for part, version in newest.items() if version < self.seen.get(part, "")}
        if behind - self._behind:
            _log.warning("definitions went back; readers wait until they are written again", parts=len(behind))
        self._behind = behind
        for part, version in newest.items():
            self.saw(part, version)

    def saw(self, part: str, version: str) -> None:
        """Records the version that a part was brought to."""
        self.seen[part] = max(version, self.seen.get(part, ""))
