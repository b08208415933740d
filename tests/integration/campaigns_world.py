"""The campaigns service on a database and a Redis of the tests' own, and clients with tokens of customers 7 and 8."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from itertools import count
from typing import Any

import aiohttp
from redis.asyncio import Redis
from yarl import URL

from integration.engine_world import complete_tokens
from integration.private_redis import own, private_redis
from integration.query_world import Got
from rotary.clock import system_clock
from rotary.definitions import MANAGE_SCOPE, SCOPE, TokenDefinition
from rotary.postgres.connection import Connection
from rotary_campaigns.service import Service, serving
from rotary_campaigns.settings import CampaignsSettings
from running import until
from written import Documents

CAMPAIGNS = "/api/telesales/campaigns"
MANAGEMENT = "/api/management"
_numbers = count(1_000)


class Client:
    """Somebody with a token."""

    def __init__(self, session: aiohttp.ClientSession, base: str, token: str | None) -> None:
        self._session = session
        self._base = base
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self.token = token or ""

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> Got:
        """The answer. `body` is sent as JSON; bytes as they are. Underscores in header names stand for hyphens."""
        named = self._headers | {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        url = URL(self._base + path, encoded=True)
        async with self._session.request(method, url, data=data, headers=named) as response:
            return Got(response.status, response.headers, (await response.read()).decode())

    async def get(self, path: str, **headers: str) -> Any:
        """The body of a 200. Any: JSON."""
        return await self.done(200, "GET", path, **headers)

    async def done(self, status: int, method: str, path: str, body: object = None, **headers: str) -> Any:
        """The body of an answer that must have this status. Any: JSON."""
        got = await self.ask(method, path, body, **headers)
        assert got.status == status, got.text
        return json.loads(got.text) if got.text else None

    async def change(self, method: str, path: str, body: object = None) -> Any:
        """The data of a change that is meant for whatever is there. Any: JSON."""
        got = await self.ask(method, path, body, If_Match="*")
        assert got.status in (200, 201, 202, 204), got.text
        return json.loads(got.text)["data"] if got.text else None

    async def etag(self, path: str) -> str:
        """Of what is there now."""
        got = await self.ask("GET", path)
        assert got.status == 200, got.text
        return got.headers["ETag"]


class CampaignsWorld:
    """A running service, and the servers that it has."""

    def __init__(  # all that a test may look at
        self, service: Service, session: aiohttp.ClientSession, connection: Connection, redis: Redis, url: str
    ) -> None:
        self.service = service
        self.connection = connection
        self.redis_url = url
        self.base = f"http://127.0.0.1:{service.port}"
        self.ops = f"http://127.0.0.1:{service.ops[1]}"
        self._session = session
        self._redis = redis
        self._first_id = 0

    async def is_ready(self) -> bool:
        """Whether the service says so."""
        async with self._session.get(self.ops + "/readyz") as response:
            return response.status == 200

    async def begin_anew(self) -> None:
        """Gives new rows ids that neither SEED gives nor a test before had: the service remembers by id."""
        self._first_id += 1_000
        for table in ("customers", "caller_ids", "caller_id_groups", "api_tokens"):
            await self.connection.execute("SELECT setval(pg_get_serial_sequence($1, 'id'), $2)", table, self._first_id)

    async def client(self, *scopes: str, customer: int = 7, limit: int | None = None, name: str = "tests") -> Client:
        """One with a new token, which PostgreSQL and Redis both know."""
        chosen = scopes or (SCOPE, MANAGE_SCOPE)
        documents = Documents(self._redis)
        text = await inserted_token(self.connection, documents, chosen, customer=customer, limit=limit, name=name)
        return self.stranger(text)

    async def forget(self, hashes: Sequence[str]) -> None:
        """Redis hears that the tokens with these hashes, in hex, are gone."""
        await Documents(self._redis).put_tokens({}, hashes)

    def stranger(self, token: str | None) -> Client:
        """One with this token, or none."""
        return Client(self._session, self.base, token)


async def inserted_token(
    connection: Connection,
    documents: Documents,
    scopes: Sequence[str],
    *,
    customer: int = 7,
    limit: int | None = None,
    name: str = "tests",
) -> str:
    """A new token, which PostgreSQL and Redis both know."""
    text = f"test-{next(_numbers)}"
    digest = sha256(text.encode())
    row_id = await connection.fetchval(
        "INSERT INTO api_tokens (customer_id, name, token_sha256, scopes, rate_limit_per_minute)"
        " VALUES ($1, $2, $3, $4, $5) RETURNING id",
        *(customer, name, digest.digest(), list(scopes), limit),
    )
    token = TokenDefinition(row_id, customer, tuple(scopes), limit, None)
    await documents.put_tokens({digest.hexdigest(): token}, [])
    return text


@asynccontextmanager
async def campaigns_world(
    database_url: str, redis_url: str, rabbitmq_url: str, connection: Connection, **settings: Any
) -> AsyncIterator[CampaignsWorld]:
    """A service in this process, on ports of its own, that is ready. `connection` is to its database, as in SEED."""
    async with private_redis(redis_url) as client:
        await complete_tokens(client)
        chosen = CampaignsSettings(
            *(database_url, own(redis_url), rabbitmq_url),
            campaigns_bind="127.0.0.1:0",
            ops_bind="127.0.0.1:0",
            **settings,
        )
        async with serving(chosen, system_clock()) as service, aiohttp.ClientSession() as session:
            world = CampaignsWorld(service, session, connection, client, own(redis_url))
            await world.begin_anew()
            await until(world.is_ready, 10, "the service is ready")
            yield world
