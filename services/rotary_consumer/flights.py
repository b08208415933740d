"""Several folds under way at once: while Redis folds one batch, the next is decoded.

The fold is order-free, so batches may reach Redis in any order. What follows each, acknowledging above all, happens in
the order of launch, because one acknowledgement speaks for all deliveries before it.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

MOST = 3


class Flights:
    """At most three. An error in one is raised by the next call; leaving cancels what is still under way."""

    def __init__(self) -> None:
        self._flights: deque[asyncio.Task[None]] = deque()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for flight in self._flights:
            flight.cancel()
        if self._flights:
            await asyncio.wait(self._flights)

    async def launch(self, fold: Awaitable[None], then: Callable[[], Awaitable[None]]) -> None:
        """Begins `fold`, after which `then` runs in its turn. Returns when there is room for another."""
        before = self._flights[-1] if self._flights else None
        self._flights.append(asyncio.create_task(_fly(fold, then, before)))
        await self.look()

    async def look(self) -> None:
        """Waits for room, and raises what went wrong meanwhile."""
        while self._flights and (len(self._flights) >= MOST or self._flights[0].done()):
            await self._flights.popleft()

    async def land(self) -> None:
        """Waits for all."""
        while self._flights:
            await self._flights.popleft()


async def _fly(fold: Awaitable[None], then: Callable[[], Awaitable[None]], before: asyncio.Task[None] | None) -> None:
    await fold
    if before is not None:
        await asyncio.shield(before)
    await then()
