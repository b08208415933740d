"""The console on a database and a Redis of the tests' own, alone or with a real rotary-campaigns, and its browsers."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from http.cookies import SimpleCookie
from io import BytesIO
from itertools import count
from typing import Any, TypeVar

import aiohttp
from yarl import URL

from integration.campaigns_world import CampaignsWorld, campaigns_world
from integration.cheap_passwords import cheap_passwords, costly_passwords
from integration.private_redis import own, private_redis
from integration.query_world import Got
from rotary.clock import system_clock
from rotary.management.fields import Role
from rotary.management.passwords import hash_password
from rotary.postgres.connection import Connection
from rotary_console.service import Service, serving
from rotary_console.settings import ConsoleSettings
from running import free_port, until

W = TypeVar("W", bound="ConsoleWorld")
PASSWORD = "correct horse battery"
_NOBODY = "DELETE FROM users; DELETE FROM sign_in_attempts"
_names = count(1)


def hash_of(password: str) -> str:
    """A hash that consoles in this process verify at once."""
    with cheap_passwords():
        return hash_password(password)


@cache
def costly_hash_of(password: str) -> str:
    """A hash that any console verifies, which takes a while. Making it does, too: once a password is enough."""
    with costly_passwords():
        return hash_password(password)


class Browser:
    """Somebody's browser: it keeps cookies, and sends what the console's pages send. `address` is where it is."""

    def __init__(self, session: aiohttp.ClientSession, origin: str, base: str, address: str) -> None:
        self._session = session
        self._origin = origin
        self._base = base
        self._address = address
        self.cookies: dict[str, str] = {}
        self.set_cookies: list[str] = []
        """The Set-Cookie headers of the last answer."""

    async def ask(self, method: str, path: str, body: object = None, **headers: str | None) -> Got:
        """The answer. `body` is sent as JSON; bytes as they are. A header of None is left out."""
        sent: dict[str, str | None] = {
            "X-Rotary-Console": "1",
            "Origin": self._origin,
            "Sec-Fetch-Site": "same-origin",
            "X-Forwarded-For": self._address,
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()) or None,
        }
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        named = {name: value for name, value in sent.items() if value is not None}
        data = None if body is None else BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        url = URL(self._base + path, encoded=True)
        async with self._session.request(method, url, data=data, headers=named, allow_redirects=False) as response:
            self._keep(response.headers.getall("Set-Cookie", []))
            return Got(response.status, response.headers, (await response.read()).decode())

    def _keep(self, lines: list[str]) -> None:
        self.set_cookies = lines
        for line in lines:
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value

    async def done(self, status: int, method: str, path: str, body: object = None, **headers: str | None) -> Any:
        """The body of an answer that must have this status. Any: JSON."""
        got = await self.ask(method, path, body, **headers)
        assert got.status == status, (got.status, got.text)
        return json.loads(got.text) if got.text else None

    async def sign_in(self, name: str, password: str = PASSWORD, code: str | None = None) -> Got:
        """An attempt to sign in."""
        body = {"name": name, "password": password} | ({} if code is None else {"code": code})
        return await self.ask("POST", "/api/session", body)


class ConsoleWorld:
    """A running console."""

    def __init__(self, service: Service, connection: Connection, session: aiohttp.ClientSession, origin: str) -> None:
        self.service = service
        self.connection = connection
        self.origin = origin
        self.base = f"http://127.0.0.1:{service.port}"
        self.ops = f"http://127.0.0.1:{service.ops[1]}"
        self._session = session
        self._addresses = count(1)

    async def begin_anew(self) -> None:
        """Without users, for another test on the same console."""
        await self.connection.execute(_NOBODY)

    def browser(self, address: str | None = None) -> Browser:
        """One that has never been here; without an `address`, at one that nobody else has."""
        number = next(self._addresses)
        return Browser(self._session, self.origin, self.base, address or f"198.51.{number // 250}.{number % 250 + 1}")

    async def user(self, role: Role | None = None, customer: int = 7, **columns: object) -> str:
        """The name of a new user, whose password is PASSWORD."""
        values = {"name": f"user-{next(_names)}", "password_hash": hash_of(PASSWORD)} | columns
        places = ", ".join(f"${place}" for place in range(1, len(values) + 1))
        user_id = await self.connection.fetchval(
            f"INSERT INTO users ({', '.join(values)}) VALUES ({places}) RETURNING id", *values.values()
        )
        if role is not None:
            await self.connection.execute("INSERT INTO user_roles VALUES ($1, $2, $3)", user_id, customer, role)
        return str(values["name"])

    async def signed_in(self, role: Role | None = None, customer: int = 7, **columns: object) -> Browser:
        """The browser of a new user."""
        browser = self.browser()
        got = await browser.sign_in(await self.user(role, customer, **columns))
        assert got.status == 200, got.text
        return browser


class WholeWorld(ConsoleWorld):
    """A running console, and the rotary-campaigns behind it."""

    campaigns: CampaignsWorld

    async def begin_anew(self) -> None:
        """The same, for another test on the same campaigns service."""
        await super().begin_anew()
        await self.campaigns.begin_anew()


@asynccontextmanager
async def console_world(
    database_url: str, redis_url: str, rabbitmq_url: str, connection: Connection, **settings: Any
) -> AsyncIterator[WholeWorld]:
    """A console in this process with what is behind it, that is ready."""
    async with campaigns_world(database_url, redis_url, rabbitmq_url, connection) as campaigns:
        urls = {"redis_url": campaigns.redis_url, "campaigns_url": campaigns.base}
        async with _console(WholeWorld, database_url, connection, urls | settings) as world:
            world.campaigns = campaigns
            yield world


@asynccontextmanager
async def lone_console(
    database_url: str, redis_url: str, connection: Connection, **settings: Any
) -> AsyncIterator[ConsoleWorld]:
    """A console in this process with nothing behind it, that is ready."""
    async with private_redis(redis_url):
        urls = {"redis_url": own(redis_url), "campaigns_url": "http://127.0.0.1:9"}
        async with _console(ConsoleWorld, database_url, connection, urls | settings) as world:
            yield world


@asynccontextmanager
async def _console(
    kind: type[W], database_url: str, connection: Connection, settings: Mapping[str, Any]
) -> AsyncIterator[W]:
    """Addresses of browsers come by X-Forwarded-For. Passwords are hashed cheaply."""
    await connection.execute(_NOBODY)
    port = free_port()
    chosen = {
        "postgres_url": database_url,
        "console_url": f"http://127.0.0.1:{port}",
        "api_url": "http://127.0.0.1:9",
        "console_bind": f"127.0.0.1:{port}",
        "ops_bind": "127.0.0.1:0",
        "trusted_proxies": "127.0.0.1",
        **settings,
    }
    made = ConsoleSettings(**chosen)
    with cheap_passwords():
        async with serving(made, system_clock()) as service, aiohttp.ClientSession() as session:
            world = kind(service, connection, session, made.origin)

            async def is_ready() -> bool:
                async with session.get(world.ops + "/readyz") as response:
                    return response.status == 200

            await until(is_ready, 10, "the console is ready")
            yield world
