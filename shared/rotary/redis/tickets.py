"""Tickets: each stands for a token, once, for a minute. Only hashes are stored, of tickets as of tokens."""

from collections.abc import Sequence

from redis.asyncio import Redis

from rotary.redis import keys
from rotary.redis.connection import translate_errors

TICKET_SECONDS = 60
"""How long a ticket is valid, by Redis' clock."""


class TicketStore:
    """The tickets that have not been used, in the Redis that all replicas share."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def put(self, ticket_sha256_hex: str, token_sha256_hex: str) -> None:
        """Stores a new ticket for a token. Raises UnavailableError."""
        with translate_errors():
            await self._client.set(keys.ticket(ticket_sha256_hex), token_sha256_hex, ex=TICKET_SECONDS)

    async def take(self, tickets: Sequence[str]) -> list[str | None]:
        """Uses tickets up. Returns the hash of each one's token, or None for one that is not valid (any more).

        A ticket is read and removed in one atomic step. If the reply is lost, the ticket is lost, and never used twice.
        Raises UnavailableError.
        """
        pipeline = self._client.pipeline(transaction=True)
        for ticket in tickets:
            pipeline.get(keys.ticket(ticket))
            pipeline.delete(keys.ticket(ticket))
        with translate_errors():
            replies = await pipeline.execute()
        return [None if token is None else token.decode() for token in replies[::2]]
