"""A Redis database for the query service's tests, filled as consumer and projector would, and the service on it.

The database is the tests' own on the shared server, so that emptying it empties nobody else's.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from msgspec import Struct
from multidict import CIMultiDictProxy
from redis.asyncio import Redis
from yarl import URL

from rotary.clock import Clock, system_clock
from rotary.definitions import (
    SCOPE,
    GroupDefinition,
    GroupSummary,
    MemberDefinition,
    Status,
    TokenDefinition,
    summary,
)
from rotary.errors import UnavailableError
from rotary.events import Event
from rotary.policy import DEFAULT_POLICY
from rotary.redis import keys
from rotary.redis.connection import connect, load_functions
from rotary.redis.fold import Span, batches_of, fold
from rotary.redis.pipeline import Pipeline
from rotary.redis.positions import Positions
from rotary.runtime.program import cancel_and_wait
from rotary_query.service import Service, serving
from rotary_query.settings import QuerySettings
from running import until
from written import Documents

OWN_DATABASE = 8
CREATED = datetime(2026, 5, 20, 3, 0, 0, 123456, tzinfo=UTC)
CALLS, FLAGS = "calls.0", "flags.0"
LOGS = (CALLS, FLAGS)
MARKER_SECONDS = 0.2
_numbers = count(1)


class Log:
    """Two logs whose reader folds what a test gives it, and is at their end five times a second, until it hangs."""

    def __init__(self, client: Redis, generation: int = 0) -> None:
        self._pipeline = Pipeline(client)
        self.positions = Positions(self._pipeline, generation)
        self._turn = asyncio.Lock()
        self._reached: list[int | None] = [None] * keys.BUCKETS
        self._end = 0
        self.hangs = False

    async def fold(self, customer: int, events: Sequence[Event]) -> None:
        """Folds events of one customer, as the next ones of the log."""
        async with self._turn:
            bucket = keys.bucket_of(customer)
            self._end += max(1, len(events))
            reached = self._reached[bucket]
            span = Span(CALLS, reached, self._end, await self.positions.now_ms(), reached)
            batches = batches_of((customer, event) for event in events)
            await fold(self._pipeline, {bucket: batches}, {bucket: span}, ",".join(LOGS), self.positions.generation)
            self._reached[bucket] = self._end

    async def advance(self, logs: Sequence[str] = LOGS) -> None:
        """The reader is at the end of these logs now."""
        async with self._turn:
            now_ms = await self.positions.now_ms()
            for log in logs:
                continued = self._reached if log == CALLS else [None] * keys.BUCKETS
                moved = await self.positions.advance(log, self._end, now_ms, LOGS, continued, continued)
                if log == CALLS:
                    self._reached = [
                        offset if bucket in moved.behind else self._end for bucket, offset in enumerate(self._reached)
                    ]

    async def restart(self) -> None:
        """Continues from whatever Redis holds, as a consumer does that finds itself behind."""
        async with self._turn:
            self._reached = [position.next for position in await self.positions.read(CALLS)]

    async def run(self) -> None:
        """Advances until cancelled, whatever Redis does."""
        while True:
            if not self.hangs:
                with suppress(UnavailableError):
                    await self.advance()
            await asyncio.sleep(MARKER_SECONDS)

    async def close(self) -> None:
        """Closes the connection."""
        await self._pipeline.close()


class World:
    """One customer's definitions and facts in a database that is complete, until a test breaks it."""

    def __init__(self, client: Redis, url: str, customer: int) -> None:
        self.client = client
        self.url = url
        self.customer = customer
        self.documents = Documents(client)
        self.log = Log(client)
        self._summaries: dict[int, GroupSummary] = {}

    @property
    def bucket(self) -> int:
        """Where the customer's facts are."""
        return keys.bucket_of(self.customer)

    async def fill(self) -> None:
        """Everything a reader wants to see before it believes what it reads."""
        await load_functions(self.client)
        await self.documents.complete()
        await self.log.restart()
        await self.log.advance()

    async def put(self, *groups: GroupDefinition) -> None:
        """Defines groups."""
        self._summaries |= {group.id: summary(group) for group in groups}
        await self._put(groups)

    async def remove(self, group_id: int) -> None:
        """Removes a group."""
        del self._summaries[group_id]
        await self._put([])

    async def _put(self, groups: Sequence[GroupDefinition]) -> None:
        summaries = [self._summaries[group_id] for group_id in sorted(self._summaries)]
        await self.documents.put_groups(self.customer, groups, summaries)

    async def token(
        self,
        limit: int | None = None,
        scopes: tuple[str, ...] = (SCOPE,),
        expires_at: datetime | None = None,
        customer: int | None = None,
        text: str | None = None,
    ) -> str:
        """A new token of this customer's."""
        number = next(_numbers)
        text = text or f"rotary_{self.customer}_{number}"
        token = TokenDefinition(number, customer or self.customer, scopes, limit, expires_at)
        await self.documents.put_tokens({hashed(text): token}, [])
        return text

    async def revoke(self, token: str) -> None:
        """As the projector does when a token is revoked."""
        await self.documents.put_tokens({}, [hashed(token)])

    async def fold(self, *events: Event) -> None:
        """Folds events of this customer's, in one batch."""
        await self.log.fold(self.customer, events)


@asynccontextmanager
async def world(redis_url: str, customer: int) -> AsyncIterator[World]:
    """An empty database, filled with what makes it complete."""
    url = urlsplit(redis_url)._replace(path=f"/{OWN_DATABASE}").geturl()
    async with connect(url) as client:
        await client.flushdb()
        made = World(client, url, customer)
        await made.fill()
        advancing = asyncio.create_task(made.log.run())
        yield made
        await cancel_and_wait(advancing)
        await made.log.close()
        await client.flushdb()


def hashed(token: str) -> str:
    """The name under which Redis has a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def member(caller: int, status: Status = "active", daily_cap: int = 200) -> MemberDefinition:
    """A caller ID as a member."""
    return MemberDefinition(caller, f"+8490{caller:07d}", f"Line {caller}", "viettel", status, "trunk-1", daily_cap, 1)


def group(group_id: int, *members: MemberDefinition, name: str = "Sales HCM") -> GroupDefinition:
    """A group."""
    return GroupDefinition(
        group_id, name, None, "cap_based", True, "active", CREATED, "Asia/Ho_Chi_Minh", DEFAULT_POLICY, tuple(members)
    )


class Got(Struct):
    """An answer, read to its end."""

    status: int
    headers: CIMultiDictProxy[str]
    text: str


class Caller:
    """Somebody who reads the API with one token."""

    def __init__(self, session: aiohttp.ClientSession, base: str, token: str | None) -> None:
        self._session = session
        self._base = base
        self.headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    async def get(self, path: str, method: str = "GET", **headers: str) -> Got:
        """The answer. Underscores in header names stand for hyphens."""
        named = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        url = URL(self._base + path, encoded=True)
        async with self._session.request(method, url, headers=named) as response:
            return Got(response.status, response.headers, (await response.read()).decode())

    async def data(self, path: str) -> Any:  # a decoded JSON body is whatever it is
        """The `data` of a success."""
        got = await self.get(path)
        assert got.status == 200, got.text
        return json.loads(got.text)["data"]

    def stream(self, path: str, **headers: str) -> Any:  # aiohttp's own context manager
        """An open stream."""
        named = self.headers | {"Accept": "text/event-stream"}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self._session.get(self._base + path, headers=named)


class Site:
    """A running query service, and those who read it."""

    def __init__(self, service: Service, session: aiohttp.ClientSession) -> None:
        self.service = service
        self.reader = service.reader
        self.session = session
        self.base = f"http://127.0.0.1:{service.port}"
        self.ops = f"http://127.0.0.1:{service.ops[1]}"

    def caller(self, token: str | None) -> Caller:
        """Somebody with this token, or none."""
        return Caller(self.session, self.base, token)


@asynccontextmanager
async def site(redis_url: str, clock: Clock | None = None, **settings: Any) -> AsyncIterator[Site]:  # settings' fields
    """A query service in this process, on ports of its own, that hears of every change."""
    chosen = QuerySettings(redis_url, query_bind="127.0.0.1:0", ops_bind="127.0.0.1:0", **settings)
    async with serving(chosen, clock or system_clock()) as service, aiohttp.ClientSession() as session:

        async def is_open() -> bool:
            return service.reader.cache.is_open

        await until(is_open, 5, "the cache is open")
        yield Site(service, session)
