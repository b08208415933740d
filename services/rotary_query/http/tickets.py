"""Tickets for streams: a browser's EventSource can send no header, so its URL carries one of these instead of a token.

A ticket opens one stream, within a minute, of any group that its token may read. It is used up by the first request for
a stream that names it, on whichever replica, whatever the answer. It is worth what its token is worth at that moment:
nothing once the token is revoked.
"""

import re
from datetime import UTC, datetime
from hashlib import sha256
from secrets import token_urlsafe

from aiohttp import web
from redis.asyncio import Redis

from rotary.auth.grant import Grant
from rotary.clock import Clock
from rotary.http.negotiation import parameter
from rotary.http.responses import JSON, CachedResponse, ResponseTemplate
from rotary.redis.tickets import TICKET_SECONDS, TicketStore
from rotary.runtime import read_batcher as batches
from rotary.runtime.read_batcher import ReadBatcher
from rotary_query.http.schemas import StreamTicket, encode_ticket

MAX_BATCH = 64
"""Tickets in one round trip."""
_TICKET_BYTES = 32
_TICKET = re.compile(r"[A-Za-z0-9_-]{43}")
_CREATED = ResponseTemplate(201, {"Content-Type": JSON, "Cache-Control": "no-store"})

PendingResult = batches.PendingResult[str, str | None]


class Tickets:
    """Issues tickets and redeems them. All replicas share those that are not used."""

    def __init__(self, client: Redis, clock: Clock) -> None:
        self._store = TicketStore(client)
        self._clock = clock
        self._batches = ReadBatcher(self._take, MAX_BATCH)

    async def issue(self, grant: Grant) -> CachedResponse:
        """A new ticket for a token. Raises UnavailableError."""
        ticket, now_ms = token_urlsafe(_TICKET_BYTES), self._clock()
        await self._store.put(_hashed(ticket), grant.sha256_hex)
        expires_at = datetime.fromtimestamp(now_ms // 1000 + TICKET_SECONDS, UTC)
        return CachedResponse(_CREATED, encode_ticket(StreamTicket(ticket, expires_at)))

    async def redeem(self, ticket: str) -> str | None:
        """Uses a ticket up. Returns the hash of its token, or None if it is not valid. Raises UnavailableError."""
        return await self._batches.ask(_hashed(ticket)).answer()

    async def close(self) -> None:
        """Ends the calls in flight."""
        await self._batches.close()

    async def _take(self, batch: list[PendingResult]) -> None:
        tokens = await self._store.take([waiting.asked for waiting in batch])
        for waiting, token in zip(batch, tokens, strict=True):
            waiting.give(token)


def ticket_in(request: web.BaseRequest) -> str | None:
    """The ticket in a request's query; None if there is none, or one that could not exist."""
    ticket = parameter(request, "ticket")
    return ticket if _TICKET.fullmatch(ticket) else None


def _hashed(ticket: str) -> str:
    return sha256(ticket.encode()).hexdigest()
