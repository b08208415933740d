"""Bounds how many events are outstanding."""

import asyncio
from collections import deque


class Room:
    """Places for `limit` events. Those who wait for one get it in the order they came.

    An asyncio.Semaphore cannot be taken without awaiting, which `submit` must.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.taken = 0

    def try_take(self) -> bool:
        """Takes a place if one is free and nobody waits for it."""
        if self.taken >= self._limit or self._waiting:
            return False
        self.taken += 1
        return True

    async def take(self) -> None:
        """Takes a place, waiting for one if need be."""
        if self.try_take():
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.give(1)
            raise

    def give(self, count: int) -> None:
        """Frees `count` places and hands them to those who wait."""
        self.taken -= count
        while self._waiting and self.taken < self._limit:
            place = self._waiting.popleft()
            if not place.done():
                self.taken += 1
                place.set_result(None)
