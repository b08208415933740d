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
MAX_WAITING_OF_NETWORK = 4
_BUSY = failure(503, "Too many people are signing in. Try again soon.", {"Retry-After": "2"})


class Hashing:
    """Every method raises Refusal if too many passwords wait already, of all networks or of this one."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="passwords")
        self._waiting: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        """How many passwords are being hashed, or wait for it."""
        return self._waiting.total()

    async def verify(self, stored: str | None, password: str, network: str) -> bool:
        """Whether this is the password; it takes as long if nothing is stored."""
        return await self._run(network, lambda: verify_password(stored, password))

    async def hash(self, password: str, network: str) -> str:
        """The hash to store."""
        return await self._run(network, lambda: hash_password(password))

    def close(self) -> None:
        """Ends the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, network: str, work: Callable[[], T]) -> T:
        waiting = self._waiting
        if self.waiting >= MAX_WAITING or waiting[network] >= MAX_WAITING_OF_NETWORK:
            raise Refusal(_BUSY)
        waiting[network] += 1
        future = self._threads.submit(work)
        # Counted until the thread is done with it, also if nobody waits any more.
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._done, network))
        return await asyncio.wrap_future(future)

    def _done(self, network: str) -> None:
        self._waiting[network] -= 1
        if not self._waiting[network]:
            del self._waiting[network]
