"""The service: the public port, the operator's port, and what runs behind them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from importlib.resources import files

import aiohttp
import structlog
from msgspec import Struct

from rotary.clock import Clock
from rotary.errors import ConfigurationError, UnavailableError
from rotary.http.client_address import TrustedProxies
from rotary.http.connections import ConnectionCollector, Connections
from rotary.http.open_files import max_connections
from rotary.http.protocol import HttpServer
from rotary.http.site import listening
from rotary.postgres.connection import open_pool
from rotary.redis.connection import connect
from rotary.runtime.ops import ops_site
from rotary.runtime.supervision import Supervisor
from rotary.tls import client_context
from rotary_console.database import Database, statement
from rotary_console.http.handler import Console
from rotary_console.http.static_files import StaticFiles
from rotary_console.metrics import registry
from rotary_console.parts import Parts
from rotary_console.proxy import upstream
from rotary_console.proxy.bearers import Bearers
from rotary_console.proxy.upstream import Upstream
from rotary_console.settings import ConsoleSettings
from rotary_console.sign_in.attempts import SignIn
from rotary_console.sign_in.cookies import DEVICE_DAYS, Cookies
from rotary_console.sign_in.hashing import Hashing
from rotary_console.sign_in.oidc import Provider
from rotary_console.sign_in.sessions import Sessions
from rotary_console.sign_in.throttle import WINDOW_SECONDS

REDIS_TIMEOUT_SECONDS = 0.8
SWEEP_SECONDS = 60.0
_log = structlog.get_logger("rotary_console")


class Service(Struct, frozen=True):
    """A running service: where it listens, and its parts."""

    host: str
    port: int
    ops: tuple[str, int]
    console: Console
    parts: Parts
    supervisor: Supervisor


@asynccontextmanager
async def serving(settings: ConsoleSettings, clock: Clock) -> AsyncIterator[Service]:
    """Serves while the context is open, whether or not the servers answer; then lets requests under way finish."""
    async with AsyncExitStack() as stack:
        parts = await _parts(stack, settings, clock)
        proxies = TrustedProxies.parse(settings.trusted_proxies)
        connections = Connections(proxies, max_connections(), settings.max_connections_per_address)
        console = Console(parts, proxies, clock)
        measured = registry(console, parts)
        measured.register(ConnectionCollector(connections, "rotary_console"))
        supervisor = Supervisor()

        async def not_ready_reasons() -> list[str]:
            return await _database_reasons(parts.database)

        ops = await stack.enter_async_context(ops_site(settings.ops_bind, not_ready_reasons, measured))
        stack.push_async_callback(supervisor.close)
        supervisor.start("sweeping", _sweep(parts))
        host, port = await stack.enter_async_context(
            listening("ROTARY_CONSOLE_BIND", settings.console_bind, HttpServer(console.handle, connections))
        )
        yield Service(host, port, ops, console, parts, supervisor)


async def _parts(stack: AsyncExitStack, settings: ConsoleSettings, clock: Clock) -> Parts:
    client = connect(settings.redis_url, REDIS_TIMEOUT_SECONDS)
    stack.push_async_callback(client.aclose)
    pool = await stack.enter_async_context(open_pool(settings.postgres_url, settings.postgres_connections))
    database = Database(pool)
    hashing = Hashing()
    stack.callback(hashing.close)
    sessions = Sessions(database, settings.session_idle_minutes, settings.session_hours)
    session = await stack.enter_async_context(_http(settings))
    return Parts(
        settings=settings,
        database=database,
        cookies=Cookies(settings.is_secure),
        sessions=sessions,
        hashing=hashing,
        sign_in=SignIn(database, sessions, hashing),
        bearers=Bearers(database, client, clock),
        upstream=Upstream(session, settings.campaigns_url),
        files=_static_files(),
        provider=_provider(session, settings),
    )


@cache
def _static_files() -> StaticFiles:
    """The pages, compressed once."""
    return StaticFiles.load(files("rotary_console") / "static")


def _http(settings: ConsoleSettings) -> aiohttp.ClientSession:
    """What asks rotary-campaigns and the sign-in provider. It keeps no cookies, and follows no redirection."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=upstream.MAX_CONNECTIONS, ssl=client_context(settings.ca_file)),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(
            total=None,
            connect=upstream.CONNECT_SECONDS,
            sock_connect=upstream.CONNECT_SECONDS,
            sock_read=upstream.ANSWER_SECONDS,
        ),
    )


def _provider(session: aiohttp.ClientSession, settings: ConsoleSettings) -> Provider | None:
    if not settings.oidc_issuer:
        return None
    if not settings.oidc_client_id:
        raise ConfigurationError("ROTARY_OIDC_CLIENT_ID is not set; expected the id that the sign-in provider gave")
    return Provider(session, settings)


async def _database_reasons(database: Database) -> list[str]:
    try:
        async with database.reading() as connection:
            migrated = await connection.fetchval(statement("is_migrated"))
    except UnavailableError as error:
        return [error.public_message]
    return [] if migrated else ["PostgreSQL has no users: run rotary-admin migrate"]


async def _sweep(parts: Parts) -> None:
    """Deletes what has had its time."""
    while True:
        try:
            async with parts.database.reading() as connection:
                await connection.execute(statement("sweep_sessions"), parts.settings.session_idle_minutes)
                await connection.execute(statement("sweep_tokens"))
                await connection.execute(statement("sweep_attempts"), float(WINDOW_SECONDS))
                await connection.execute(statement("sweep_devices"), DEVICE_DAYS)
        except UnavailableError as error:
            _log.warning("not sweeping", reason=error.what)
        await asyncio.sleep(SWEEP_SECONDS)
