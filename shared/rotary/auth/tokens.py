"""Caches tokens: valid ones with their grant, and unknown ones. A change drops a token at once."""

from msgspec import MsgspecError
from redis.asyncio import Redis

from rotary.auth.addresses import client_network
from rotary.auth.errors import TooManyAttemptsError
from rotary.auth.grant import Grant, grant, same_hash
from rotary.auth.lru import LruCache
from rotary.auth.rate_limit import RateLimits, TokenWindow
from rotary.auth.sliding_window import SlidingWindow
from rotary.clock import Clock
from rotary.definitions import TokenDefinition
from rotary.redis import keys, versions
from rotary.redis.connection import translate_errors
from rotary.redis.documents import DEFINITIONS_FIELDS, decode_token
from rotary.redis.versions import TOKENS, Versions
from rotary.runtime import read_batcher as batches
from rotary.runtime.read_batcher import ReadBatcher

MAX_KNOWN = 100_000
MAX_UNKNOWN = 4_096
MAX_ADDRESSES = 10_000

MAX_BATCH = 64
"""Tokens in one read of Redis."""

PendingResult = batches.PendingResult[str, Grant | None]


class Tokens:
    """The grants of tokens. While it is closed, nothing is cached and every request reads Redis."""

    def __init__(
        self, client: Redis, clock: Clock, rate_limits: RateLimits, failures_per_minute: int, known: Versions
    ) -> None:
        self._client = client
        self._versions = known
        self._rate_limits = rate_limits
        self._clock = clock
        self._failures_per_minute = failures_per_minute
        self._known: LruCache[Grant] = LruCache(MAX_KNOWN)
        self._unknown: LruCache[bool] = LruCache(MAX_UNKNOWN)
        self._valid_before: LruCache[bool] = LruCache(MAX_KNOWN)
        self._windows: LruCache[TokenWindow] = LruCache(MAX_KNOWN)
        self._failures: LruCache[SlidingWindow] = LruCache(MAX_ADDRESSES)
        self._trusted_reads = ReadBatcher(self._read, MAX_BATCH)
        self._untrusted_reads = ReadBatcher(self._read, MAX_BATCH, in_flight=1)
        self._reads: dict[str, PendingResult] = {}
        self._is_open = False

    def known(self, sha256_hex: str) -> Grant | None:
        """The cached grant under this hash."""
        found = self._known.get(sha256_hex)
        return found if found is not None and same_hash(found.sha256_hex, sha256_hex) else None

    async def find(self, sha256_hex: str, *, is_checked: bool = True) -> Grant | None:
        """The grant under this hash, from Redis if it is not cached. Raises UnavailableError.

        `is_checked` says that the token has a valid checksum.
        """
        if (found := self.known(sha256_hex)) is not None:
            return found
        if self._unknown.get(sha256_hex):
            return None
        read = self._reads.get(sha256_hex)
        if read is None:
            is_trusted = is_checked or self._valid_before.get(sha256_hex)
            reads = self._trusted_reads if is_trusted else self._untrusted_reads
            read = self._reads[sha256_hex] = reads.ask(sha256_hex)
        return await read.answer()

    async def find_for(self, sha256_hex: str, address: str, *, is_checked: bool) -> Grant | None:
        """As `find`, for a client. Raises TooManyAttemptsError if its address tried too many unknown tokens.

        Every token is looked up, so the attempts of others never refuse a valid token. Guesses stay cheap: a token with
        a wrong checksum is not looked up, and tokens without one share reads of 64, one read at a time.
        """
        found = await self.find(sha256_hex, is_checked=is_checked)
        if found is None and not is_checked:
            self._count_failure(client_network(address))
        return found

    def _count_failure(self, client: str) -> None:
        now_ms = self._clock()
        failures = self._failures.get(client)
        if failures is None:
            failures = SlidingWindow(self._failures_per_minute)
            self._failures.put(client, failures)
        if not failures.hit(now_ms):
            raise TooManyAttemptsError(failures.retry_after(now_ms))

    def open(self) -> None:
        """Starts caching. Call it once every change is heard."""
        self.empty()
        self._is_open = True

    def close(self) -> None:
        """Stops caching and drops all tokens. Call it when changes may be missed."""
        self.empty()
        self._is_open = False

    def empty(self) -> None:
        """Drops every token, but no rate limit window."""
        self._known.clear()
        self._unknown.clear()
        self._reads.clear()

    def forget(self, hashes: list[str]) -> None:
        """Drops tokens that were created, changed or revoked. Results of reads in flight are not cached."""
        for sha256_hex in hashes:
            self._known.drop(sha256_hex)
            self._unknown.drop(sha256_hex)
            self._reads.pop(sha256_hex, None)

    async def stop(self) -> None:
        """Ends the reads in flight."""
        await self._trusted_reads.close()
        await self._untrusted_reads.close()

    async def _read(self, batch: list[PendingResult]) -> None:
        pipeline = self._client.pipeline(transaction=True)
        pipeline.hmget(versions.key(TOKENS), DEFINITIONS_FIELDS)
        for waiting in batch:
            pipeline.get(keys.token(waiting.asked))
        mark = self._versions.mark(TOKENS)
        try:
            with translate_errors():
                fields, *documents = await pipeline.execute()
            self._versions.check(TOKENS, fields, mark)
            for waiting, document in zip(batch, documents, strict=True):
                try:
                    waiting.give(self._found(waiting, document))
                except MsgspecError as error:  # a broken document fails its own read alone
                    waiting.fail(error)
        finally:
            for waiting in batch:
                if self._reads.get(waiting.asked) is waiting:
                    del self._reads[waiting.asked]

    def _found(self, waiting: PendingResult, document: bytes | None) -> Grant | None:
        sha256_hex = waiting.asked
        token = decode_token(document) if document else None
        found = None if token is None else grant(sha256_hex, token, self._window(sha256_hex, token))
        if found is not None:
            self._valid_before.put(sha256_hex, value=True)
        # `forget` and `empty` also drop the read, because its document may be out of date.
        if self._is_open and self._reads.get(sha256_hex) is waiting:
            self._keep(sha256_hex, found)
        return found

    def _keep(self, sha256_hex: str, found: Grant | None) -> None:
        if found is None:
            self._unknown.put(sha256_hex, value=True)
        else:
            self._known.put(sha256_hex, found)

    def _window(self, sha256_hex: str, token: TokenDefinition) -> TokenWindow | None:
        limit = token.rate_limit_per_minute
        if limit is None:
            return None
        window = self._windows.get(sha256_hex) or self._rate_limits.window(sha256_hex, limit)
        window.resize(limit)
        self._windows.put(sha256_hex, window)
        return window
