"""A witness at Redis: how often each call was put before the fold function, from the server's own MONITOR."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from faults.ledger import Fact

_SEEN = re.compile(rb'"(SMISMEMBER|SADD)" "(\{b\d+\}(?:\d+/)?(\d+):seen:\d+:\d+)" (.*)')


class Witness:
    """`folds` counts the times each call reached the function: what it had seen before, it must not count again."""

    def __init__(self) -> None:
        self.folds: Counter[Fact] = Counter()
        self._again: set[Fact] = set()
        self._asked = b""

    def forget(self) -> None:
        """From here on `repeated` counts anew; what was folded before is still known."""
        self._again.clear()

    @property
    def repeated(self) -> int:
        """Calls folded since `forget` although they had been folded before."""
        return len(self._again)

    def hear(self, line: bytes) -> None:
        """Takes one line: the function asks for several calls which it has seen, a single one it adds at once."""
        found = _SEEN.search(line)
        asked, self._asked = self._asked, found[2] if found and found[1] == b"SMISMEMBER" else b""
        if not found or (found[1] == b"SADD" and found[2] == asked):
            return
        customer = int(found[3])
        for number in found[4].split():
            fact = (customer, int(number.strip(b'"')))
            self.folds[fact] += 1
            if self.folds[fact] > 1:
                self._again.add(fact)


@asynccontextmanager
async def witnessing(redis_url: str) -> AsyncIterator[Witness]:
    """Listens for as long as the block lasts, and to every server that comes up there."""
    witness = Witness()
    task = asyncio.create_task(_listen(witness, redis_url))
    try:
        yield witness
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _listen(witness: Witness, redis_url: str) -> None:
    address = urlsplit(redis_url)
    while True:
        try:
            reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=2**24)
            try:
                writer.write(f"AUTH {address.username} {address.password}\r\nMONITOR\r\n".encode())
                while line := await reader.readline():
                    witness.hear(line)
            finally:
                writer.close()
        except OSError:
            await asyncio.sleep(0.02)
