"""Sends deliveries: one signed POST each, whose answer decides whether there is another attempt."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
from yarl import URL

from rotary import __version__
from rotary.domain.signatures import sign
from rotary.management.webhooks import (
    Attempt,
    DeliveryStatus,
    Outgoing,
    postpone_delivery,
    read_outgoing,
    record_attempt,
)
from rotary.tls import client_context
from rotary_campaigns.database import Database
from rotary_campaigns.webhooks.addresses import AddressRefusedError, AllowedAddresses, GuardedResolver
from rotary_campaigns.webhooks.retries import GIVE_UP_AFTER, RETRY_SECONDS, retry_seconds

ATTEMPT_SECONDS = 5.0
MAX_AT_ONCE = 8
"""Attempts of one webhook under way: a receiver that hangs keeps no more from the others."""
_READ_BYTES = 1_024
_MAX_ERROR = 200


class Sender:
    """Attempts deliveries. `attempted` counts them by how they ended."""

    def __init__(self, database: Database, session: aiohttp.ClientSession, allowed: AllowedAddresses) -> None:
        self._database = database
        self._session = session
        self._allowed = allowed
        self._under_way: Counter[int] = Counter()
        self.attempted: Counter[DeliveryStatus] = Counter()

    async def deliver(self, delivery_id: str) -> int | None:
        """Attempts a delivery. Returns the seconds after which to try again; None if it is over.

        Raises UnavailableError when PostgreSQL is away: what was sent is then not on record, and is sent again.
        """
        async with self._database.reading() as connection:
            outgoing = await read_outgoing(connection, delivery_id)
        if outgoing is None or not outgoing.is_wanted:
            return None
        if datetime.now(UTC) > outgoing.created_at + GIVE_UP_AFTER:
            return None  # its webhook was disabled, or we were away; the sweep closes it
        if self._under_way[outgoing.webhook_id] >= MAX_AT_ONCE:
            return await self._postpone(outgoing)
        attempt = await self._attempt(outgoing)
        return await self._record(outgoing, attempt, may_retry=True)

    async def _postpone(self, outgoing: Outgoing) -> int:
        """It waits for the others. That is on record, or it would seem to have lost its message, and get another."""
        seconds = RETRY_SECONDS[0]
        async with self._database.reading() as connection:
            await postpone_delivery(connection, outgoing.id, seconds)
        return seconds

    async def attempt_once(self, delivery_id: str) -> None:
        """Attempts a delivery that nobody repeats."""
        async with self._database.reading() as connection:
            outgoing = await read_outgoing(connection, delivery_id)
        if outgoing is not None:
            await self._record(outgoing, await self._attempt(outgoing), may_retry=False)

    async def _record(self, outgoing: Outgoing, attempt: Attempt, *, may_retry: bool) -> int | None:
        status: DeliveryStatus = "delivered" if attempt.error is None else "failed"
        seconds = None
        if status == "failed" and may_retry:
            seconds = retry_seconds(outgoing.attempts + 1, outgoing.created_at, datetime.now(UTC))
            status = "failed" if seconds is None else "pending"
        async with self._database.reading() as connection:
            await record_attempt(connection, outgoing.id, attempt, status, seconds or 0)
        self.attempted[status] += 1
        return seconds

    async def _attempt(self, outgoing: Outgoing) -> Attempt:
        at, began = datetime.now(UTC), time.monotonic()
        self._under_way[outgoing.webhook_id] += 1
        status, error = None, None
        try:
            status = await self._post(outgoing, int(at.timestamp()))
            if not 200 <= status < 300:
                error = f"The receiver answered {status}."
        except TimeoutError:
            error = f"No answer within {ATTEMPT_SECONDS:g} s."
        except (aiohttp.ClientError, OSError, ValueError) as failed:
            error = _explained(failed)
        finally:
            self._under_way[outgoing.webhook_id] -= 1
        milliseconds = round((time.monotonic() - began) * 1000)
        return Attempt(at.replace(microsecond=0), status, error, milliseconds)

    async def _post(self, outgoing: Outgoing, timestamp: int) -> int:
        url, body = URL(outgoing.url), outgoing.body.encode()
        self._allowed.check_host(url.host or "")
        headers = {
            "Content-Type": "application/json",
            "X-Rotary-Event": outgoing.event,
            "X-Rotary-Delivery": outgoing.id,
            "X-Rotary-Timestamp": str(timestamp),
            "X-Rotary-Signature": sign(outgoing.secret, timestamp, body),
        }
        async with (
            asyncio.timeout(ATTEMPT_SECONDS),
            # A redirection could lead anywhere: it is an answer like any other.
            self._session.post(url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            await response.content.read(_READ_BYTES)
            return response.status


def _explained(error: Exception) -> str:
    """Why there was no answer, in words that say nothing of our network."""
    if isinstance(error, AddressRefusedError) or isinstance(error.__cause__, AddressRefusedError):
        return "The address is not public."
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return "The TLS certificate is not trusted."
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "The host name does not resolve."
    if isinstance(error, aiohttp.ClientConnectorError):
        return "The connection was refused."
    return f"The connection failed: {type(error).__name__}"[:_MAX_ERROR]


@asynccontextmanager
async def opened(database: Database, allowed: AllowedAddresses, ca_file: str) -> AsyncIterator[Sender]:
    """A sender with connections of its own. Raises ConfigurationError for a file of authorities that can't be read."""
    connector = aiohttp.TCPConnector(
        resolver=GuardedResolver(allowed), ssl=client_context(ca_file), ttl_dns_cache=10, limit=256
    )
    # No proxy from the environment: it would open the connection instead of us.
    session = aiohttp.ClientSession(
        connector=connector,
        trust_env=False,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"Rotary/{__version__}"},
    )
    async with session:
        yield Sender(database, session, allowed)
