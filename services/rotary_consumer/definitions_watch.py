"""Watches whether Redis' definitions go back, for instance to an older snapshot, also while Postgres is away."""

import asyncio
import logging

from rotary.errors import UnavailableError
from rotary.redis.definition_writer import DefinitionWriter

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0


class DefinitionsWatch:
    """Remembers the newest version seen in each part, and closes to readers a part that shows an older one.

    Runs in every consumer, projecting or not: one that lives is enough.
    """

    def __init__(self, writer: DefinitionWriter) -> None:
        self._writer = writer
        self._behind: set[str] = set()
        self.seen: dict[str, str] = {}

    async def run(self) -> None:
        """Looks once a second, for as long as the process lives."""
        while True:
            try:
                await self.look()
            except UnavailableError as error:
                logger.debug("not watching definitions: %s", error.what)
            await asyncio.sleep(POLL_SECONDS)

    async def look(self) -> None:
        """Looks once."""
        newest = await self._writer.doubt(self.seen)
        behind = {part for part, version in newest.items() if version < self.seen.get(part, "")}
        if behind - self._behind:
            logger.warning("definitions in Redis went back, readers wait for them to be written anew: %s", len(behind))
        self._behind = behind
        for part, version in newest.items():
            self.saw(part, version)

    def saw(self, part: str, version: str) -> None:
        """The part was just given this version."""
        self.seen[part] = max(version, self.seen.get(part, ""))
