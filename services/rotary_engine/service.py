"""The engine as a service: the public port, the operator's port, and what runs behind them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from msgspec import Struct

from rotary.clock import Clock
from rotary.definitions import PICK_SCOPE
from rotary.http.api import Access
from rotary.http.client_address import TrustedProxies
from rotary.http.connections import ConnectionCollector, Connections
from rotary.http.cors import Cors
from rotary.http.docs import docs_pages
from rotary.http.open_files import max_connections
from rotary.http.protocol import HttpServer
from rotary.http.site import listening
from rotary.redis.connection import connect
from rotary.runtime.ops import ops_site
from rotary_engine.engine import Engine
from rotary_engine.http.handler import Api
from rotary_engine.http.openapi import openapi
from rotary_engine.metrics import registry
from rotary_engine.settings import EngineSettings
from rotary_engine.statistics import Statistics

REDIS_TIMEOUT_SECONDS = 0.8
"""A request may meet two silent reads, its token's and its pick's, and must have its 503 within two seconds."""


class Service(Struct, frozen=True):
    """A running engine: where it listens, and its parts."""

    host: str
    port: int
    ops: tuple[str, int]
    engine: Engine
    api: Api


@asynccontextmanager
async def serving(settings: EngineSettings, clock: Clock) -> AsyncIterator[Service]:
    """Serves while the context is open, whether or not Redis answers; then lets requests under way finish."""
    async with AsyncExitStack() as stack:
        client = connect(settings.redis_url, REDIS_TIMEOUT_SECONDS)
        stack.push_async_callback(client.aclose)
        proxies = TrustedProxies.parse(settings.trusted_proxies)
        connections = Connections(proxies, max_connections(), settings.max_connections_per_address)
        engine, statistics = Engine(client, settings, clock), Statistics()
        # No CORS: a dialer's server asks, not a browser.
        access = Access(engine.tokens, engine.rate_limits, PICK_SCOPE, proxies, Cors(frozenset()))
        api = Api(engine.picks, statistics, docs_pages(openapi), access, clock, access_log=settings.access_log)
        measured = registry(api, engine, statistics)
        measured.register(ConnectionCollector(connections, "rotary_engine"))
        ops = await stack.enter_async_context(ops_site(settings.ops_bind, engine.not_ready_reasons, measured))
        await stack.enter_async_context(engine.running())
        host, port = await stack.enter_async_context(
            listening("ROTARY_ENGINE_BIND", settings.engine_bind, HttpServer(api.handle, connections))
        )
        yield Service(host, port, ops, engine, api)
