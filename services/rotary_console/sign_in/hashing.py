"""Hashing passwords beside the event loop: a few at once, and a bounded number that wait."""

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from rotary.http.errors import Refusal
from rotary.http.responses import failure
from rotary.management.passwords import hash_password, verify_password

T = TypeVar("T")
THREADS = 2
MAX_WAITING = 64
MAX_WAITING_OF_STRANGERS = 48
"""Of those; the rest is for browsers that are known, so that strangers can't fill the queue."""
MAX_WAITING_OF_CLIENT = 4
_BUSY = failure(503, "Too many people are signing in. Try again soon.", {"Retry-After": "2"})


class Hashing:
    """Every method raises Refusal if too many passwords wait already, of all clients or of this one.

    `client` is a network, or a browser or user that is known; `is_known` tells which.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="passwords")
        self._waiting: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        """How many passwords are being hashed, or wait for it."""
        return self._waiting.total()

    async def verify(self, stored: str | None, password: str, client: str, *, is_known: bool) -> bool:
        """Whether this is the password; it takes as long if nothing is stored."""
        return await self._run(client, lambda: verify_password(stored, password), is_known=is_known)

    async def hash(self, password: str, client: str) -> str:
        """The hash to store, of somebody who is signed in, or has just been."""
        return await self._run(client, lambda: hash_password(password), is_known=True)

    def close(self) -> None:
        """Ends the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, client: str, work: Callable[[], T], *, is_known: bool) -> T:
        waiting = self._waiting
        limit = MAX_WAITING if is_known else MAX_WAITING_OF_STRANGERS
        if self.waiting >= limit or waiting[client] >= MAX_WAITING_OF_CLIENT:
            raise Refusal(_BUSY)
        waiting[client] += 1
        future = self._threads.submit(work)
        # Counted until the thread is done with it, also if nobody waits any more.
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._done, client))
        return await asyncio.wrap_future(future)

    def _done(self, client: str) -> None:
        self._waiting[client] -= 1
        if not self._waiting[client]:
            del self._waiting[client]
