"""Limits the number of outstanding events."""

import asyncio
from collections import deque


class Capacity:
    """A semaphore of `limit` slots, first come, first served.

    asyncio.Semaphore has no way to acquire without awaiting, which `submit` needs.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.used = 0

    def try_acquire(self) -> bool:
        """Takes a slot if one is free and no caller waits for it."""
        if self.used >= self._limit or self._waiting:
            return False
        self.used += 1
        return True

    async def acquire(self) -> None:
        """Takes a slot, and waits for one if none is free."""
        if self.try_acquire():
            return
        slot: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(slot)
        try:
            await slot
        except asyncio.CancelledError:
            if slot.done() and not slot.cancelled():
                self.release(1)
            raise

    def release(self, count: int) -> None:
        """Frees `count` slots and gives them to waiting callers."""
        self.used -= count
        while self._waiting and self.used < self._limit:
            slot = self._waiting.popleft()
            if not slot.done():
                self.used += 1
                slot.set_result(None)
