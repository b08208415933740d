"""Tokens at memory speed: verified ones are mirrored, unknown ones remembered, revoked ones forgotten at once."""

from ipaddress import IPv6Address, ip_address

from msgspec import MsgspecError
from redis.asyncio import Redis

from rotary.clock import Clock
from rotary.definitions import TokenDefinition
from rotary.errors import UnavailableError
from rotary.redis import keys
from rotary.redis.connection import redis_answers
from rotary.redis.documents import decode_token
from rotary_query import batches
from rotary_query.auth import Grant, grant, same_hash
from rotary_query.batches import Batches
from rotary_query.errors import Refusal, too_many_requests
from rotary_query.limits import Attempts, SlidingWindow
from rotary_query.recent import Recent

MAX_KNOWN = 100_000
MAX_UNKNOWN = 4_096
MAX_ADDRESSES = 10_000

MAX_BATCH = 64
"""Tokens read together."""

Waiting = batches.Waiting[str, Grant | None]


class Tokens:
    """What each token grants. While closed, nothing is mirrored and every request asks Redis."""

    def __init__(self, client: Redis, clock: Clock, failures_per_minute: int) -> None:
        self._client = client
        self._clock = clock
        self._failures_per_minute = failures_per_minute
        self._known: Recent[Grant] = Recent(MAX_KNOWN)
        self._unknown: Recent[bool] = Recent(MAX_UNKNOWN)
        self._windows: Recent[SlidingWindow] = Recent(MAX_KNOWN)
        self._attempts: Recent[Attempts] = Recent(MAX_ADDRESSES)
        self._batches = Batches(self._read, MAX_BATCH)
        self._loads: dict[str, Waiting] = {}
        self._is_open = False

    def known(self, sha256_hex: str) -> Grant | None:
        """The mirrored grant under this hash."""
        found = self._known.get(sha256_hex)
        return found if found is not None and same_hash(found.sha256_hex, sha256_hex) else None

    async def find(self, sha256_hex: str) -> Grant | None:
        """The grant under this hash, from Redis if it is not mirrored. Raises UnavailableError."""
        if (found := self.known(sha256_hex)) is not None:
            return found
        if self._unknown.get(sha256_hex):
            return None
        load = self._loads.get(sha256_hex)
        if load is None:
            load = self._loads[sha256_hex] = self._batches.ask(sha256_hex)
        return await load.answer()

    async def find_for(self, sha256_hex: str, address: str) -> Grant | None:
        """Likewise for a client. Raises Refusal (429) for one that tried too many unknown tokens.

        Trying the same one again is answered from memory; only those who guess are kept from asking Redis, because
        behind one address there may be others whose tokens are good.
        """
        if (found := self.known(sha256_hex)) is not None:
            return found
        attempts = self._attempts.get(network(address)) or Attempts(self._failures_per_minute)
        now_ms = self._clock()
        is_guess = not self._unknown.get(sha256_hex)
        if is_guess and attempts.guesses.is_full(now_ms):
            raise Refusal(too_many_requests(attempts.guesses.retry_after(now_ms)))
        found = await self.find(sha256_hex) if is_guess else None
        if found is None:
            self._attempts.put(network(address), attempts)
            if is_guess:
                attempts.guesses.hit(now_ms)
            if not attempts.failures.hit(now_ms):
                raise Refusal(too_many_requests(attempts.failures.retry_after(now_ms)))
        return found

    def open(self) -> None:
        """From here on every change is told."""
        self.empty()
        self._is_open = True

    def close(self) -> None:
        """Changes may be missed."""
        self.empty()
        self._is_open = False

    def empty(self) -> None:
        """Forgets every token, but not what it has used of its limit."""
        self._known.clear()
        self._unknown.clear()
        self._loads.clear()

    def forget(self, hashes: list[str]) -> None:
        """These tokens were created, changed or revoked; reads of them under way are not kept."""
        for sha256_hex in hashes:
            self._known.drop(sha256_hex)
            self._unknown.drop(sha256_hex)
            self._loads.pop(sha256_hex, None)

    async def stop(self) -> None:
        """Ends the reads under way."""
        await self._batches.close()

    async def _read(self, batch: list[Waiting]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        pipeline.exists(keys.DEFINITIONS)
        for waiting in batch:
            pipeline.get(keys.token(waiting.asked))
        try:
            with redis_answers():
                complete, *documents = await pipeline.execute()
            if not complete:
                raise UnavailableError("The definitions are being rebuilt")
            for waiting, document in zip(batch, documents, strict=True):
                try:
                    waiting.give(self._found(waiting, document))
                except MsgspecError as error:  # a document that is broken fails nobody else's read
                    waiting.fail(error)
        finally:
            for waiting in batch:
                if self._loads.get(waiting.asked) is waiting:
                    del self._loads[waiting.asked]

    def _found(self, waiting: Waiting, document: bytes | None) -> Grant | None:
        sha256_hex = waiting.asked
        token = decode_token(document) if document else None
        found = None if token is None else grant(sha256_hex, token, self._window(sha256_hex, token))
        # Forgetting a token also drops its load: what was read before is then not kept.
        if self._is_open and self._loads.get(sha256_hex) is waiting:
            self._keep(sha256_hex, found)
        return found

    def _keep(self, sha256_hex: str, found: Grant | None) -> None:
        if found is None:
            self._unknown.put(sha256_hex, value=True)
        else:
            self._known.put(sha256_hex, found)

    def _window(self, sha256_hex: str, token: TokenDefinition) -> SlidingWindow | None:
        limit = token.rate_limit_per_minute
        if limit is None:
            return None
        window = self._windows.get(sha256_hex) or SlidingWindow(limit)
        window.limit = limit
        self._windows.put(sha256_hex, window)
        return window


def network(address: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 that one IPv6 subscriber owns."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return address if not isinstance(parsed, IPv6Address) else parsed.exploded[:19]
