"""Short-lived tokens of a session: one for the browser, which reads, and one that stays here, for rotary-campaigns."""

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256

from msgspec import Struct
from redis.asyncio import Redis

from rotary.auth.lru import LruCache
from rotary.auth.sliding_window import SlidingWindow
from rotary.bearer import new_token
from rotary.clock import Clock
from rotary.definitions import MANAGE_SCOPE, READ_SCOPE, SCOPE, TokenDefinition
from rotary.errors import UnavailableError
from rotary.http.errors import Refusal, too_many_requests
from rotary.postgres import store
from rotary.redis.definition_writer import DefinitionWriter
from rotary_console.database import Database, statement
from rotary_console.http.refusals import NOT_SIGNED_IN
from rotary_console.sign_in.sessions import Session

LIFE_SECONDS = 600
RENEW_SECONDS = 120
"""A token of ours is not used any more so long before it expires."""
READ_TOKENS_PER_MINUTE = 30
"""Of one session: a page asks for one every ten minutes."""
REQUESTS_PER_MINUTE = 1_200
WRITE_SECONDS = 3.0
"""How long to try until every service accepts a token."""
_PAUSE_SECONDS = 0.1
_MAX_KEPT = 10_000


class Bearer(Struct, frozen=True):
    """A token, and when it expires."""

    token: str
    expires_at: datetime


class Bearers:
    """Makes tokens. They end with their session, with the role, and by themselves after ten minutes."""

    def __init__(self, database: Database, client: Redis, clock: Clock) -> None:
        self._database = database
        self._writer = DefinitionWriter(client)
        self._clock = clock
        self._kept: LruCache[Bearer] = LruCache(_MAX_KEPT)
        self._windows: LruCache[SlidingWindow] = LruCache(_MAX_KEPT)
        self.made = 0

    async def for_browser(self, session: Session, customer_id: int) -> Bearer:
        """A token that reads, and does nothing else. Raises Refusal and UnavailableError."""
        window = self._windows.get(str(session.id))
        if window is None:
            window = SlidingWindow(READ_TOKENS_PER_MINUTE)
            self._windows.put(str(session.id), window)
        now_ms = self._clock()
        if not window.hit(now_ms):
            raise Refusal(too_many_requests(window.retry_after(now_ms)))
        return await self._make(session, customer_id, (READ_SCOPE,))

    async def for_campaigns(self, session: Session, customer_id: int) -> str:
        """The token by which rotary-campaigns knows the user. Raises Refusal and UnavailableError."""
        key = _key(session, customer_id)
        kept = self._kept.get(key)
        if kept is None or kept.expires_at.timestamp() - RENEW_SECONDS < self._clock() / 1000:
            kept = await self._make(session, customer_id, (SCOPE, MANAGE_SCOPE))
            self._kept.put(key, kept)
        return kept.token

    def forget(self, session: Session, customer_id: int) -> None:
        """rotary-campaigns does not accept the token any more."""
        self._kept.drop(_key(session, customer_id))

    async def _make(self, session: Session, customer_id: int, scopes: Sequence[str]) -> Bearer:
        bearer = new_token()
        digest = sha256(bearer.encode())
        name = f"console: {session.name}"[:150]
        async with self._database.changing(session.actor) as connection:
            row = await connection.fetchrow(
                statement("add_session_token"),
                *(session.id, customer_id, name, digest.digest(), list(scopes), REQUESTS_PER_MINUTE, LIFE_SECONDS),
            )
        if row is None:  # the session or the role has ended just now
            raise Refusal(NOT_SIGNED_IN)
        token = TokenDefinition(row["id"], customer_id, tuple(scopes), REQUESTS_PER_MINUTE, row["expires_at"])
        await self._announce(digest.hexdigest(), token)
        self.made += 1
        return Bearer(bearer, row["expires_at"])

    async def _announce(self, sha256_hex: str, token: TokenDefinition) -> None:
        """Writes the token where services look it up, as the projector will: nobody waits for it."""
        async with self._database.reading() as connection, store.snapshot(connection):
            version = await store.read_version(connection)
        deadline = time.monotonic() + WRITE_SECONDS
        while True:
            try:
                stored = await self._writer.put_token(version, sha256_hex, token)
            except UnavailableError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            if stored is None:  # a newer snapshot, in which it has been removed
                raise Refusal(NOT_SIGNED_IN)
            return


def _key(session: Session, customer_id: int) -> str:
    return f"{session.id} {customer_id}"
