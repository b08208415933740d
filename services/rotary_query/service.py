"""The query service, composed: what `cli` runs until it is told to stop."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from msgspec import Struct

from rotary.clock import Clock
from rotary.http.client_address import TrustedProxies
from rotary.http.connections import ConnectionCollector, Connections
from rotary.http.cors import Cors
from rotary.http.docs import docs_pages
from rotary.http.open_files import max_connections
from rotary.http.protocol import HttpServer
from rotary.http.site import listening
from rotary.redis.connection import connect
from rotary.runtime.ops import ops_site
from rotary_query.cache.group_reader import GroupReader
from rotary_query.history import opened_history
from rotary_query.http.handler import Api
from rotary_query.http.openapi import openapi
from rotary_query.metrics import registry
from rotary_query.settings import QuerySettings

REDIS_TIMEOUT_SECONDS = 0.8
"""A request may meet two silent reads, its token's and its group's, and is to have its 503 within two seconds."""


class Service(Struct, frozen=True):
    """A running query service: where it listens, and its parts."""

    host: str
    port: int
    ops: tuple[str, int]
    reader: GroupReader
    api: Api


@asynccontextmanager
async def serving(settings: QuerySettings, clock: Clock) -> AsyncIterator[Service]:
    """Serves while the context is open, whether or not Redis answers; then lets requests under way finish."""
    async with AsyncExitStack() as stack:
        client = connect(settings.redis_url, REDIS_TIMEOUT_SECONDS)
        stack.push_async_callback(client.aclose)
        proxies = TrustedProxies.parse(settings.trusted_proxies)
        connections = Connections(proxies, max_connections(), settings.max_connections_per_address)
        reader = GroupReader(client, settings, clock)
        history = await stack.enter_async_context(opened_history(settings.postgres_url))
        pages, cors = docs_pages(openapi), Cors.parse(settings.cors_origins)
        api = Api(reader, history, pages, cors, proxies, clock, access_log=settings.access_log)
        measured = registry(api, reader)
        measured.register(ConnectionCollector(connections, "rotary_query"))
        ops = await stack.enter_async_context(ops_site(settings.ops_bind, reader.not_ready_reasons, measured))
        host, port = await stack.enter_async_context(
            listening("ROTARY_QUERY_BIND", settings.query_bind, HttpServer(api.handle, connections))
        )
        await stack.enter_async_context(reader.running())
        yield Service(host, port, ops, reader, api)
