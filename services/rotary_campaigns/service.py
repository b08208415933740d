"""The service: the public port, the operator's port, and what runs behind them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from msgspec import Struct

from rotary.clock import Clock
from rotary.definitions import SCOPE
from rotary.errors import UnavailableError
from rotary.http.api import Access
from rotary.http.client_address import TrustedProxies
from rotary.http.connections import ConnectionCollector, Connections
from rotary.http.cors import Cors
from rotary.http.docs import docs_pages
from rotary.http.open_files import max_connections
from rotary.http.protocol import HttpServer
from rotary.http.site import listening
from rotary.management.idempotency import forget_old
from rotary.management.imports import forget_old_imports
from rotary.postgres.connection import open_pool
from rotary.redis.connection import connect
from rotary.runtime.ops import ops_site
from rotary.runtime.supervision import Supervisor
from rotary_campaigns.access import TokenAccess
from rotary_campaigns.database import Database
from rotary_campaigns.http.handler import Api
from rotary_campaigns.http.openapi import openapi
from rotary_campaigns.http.streams import StreamLimit
from rotary_campaigns.http.uploads import UploadLimit
from rotary_campaigns.imports.runner import ImportRunner
from rotary_campaigns.metrics import registry
from rotary_campaigns.parts import Parts
from rotary_campaigns.settings import CampaignsSettings
from rotary_campaigns.webhooks.addresses import AllowedAddresses
from rotary_campaigns.webhooks.consumer import DeliveryConsumer
from rotary_campaigns.webhooks.sender import opened
from rotary_campaigns.webhooks.watcher import Watcher

REDIS_TIMEOUT_SECONDS = 0.8
"""A request must have its 503 within two seconds."""
SWEEP_SECONDS = 600.0
_SENDABLE = (
    "Authorization, Cache-Control, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, X-Request-Id"
)
_log = structlog.get_logger("rotary_campaigns")


class Service(Struct, frozen=True):
    """A running service: where it listens, and its parts."""

    host: str
    port: int
    ops: tuple[str, int]
    api: Api
    supervisor: Supervisor


@asynccontextmanager
async def serving(settings: CampaignsSettings, clock: Clock) -> AsyncIterator[Service]:
    """Serves while the context is open, whether or not the servers answer; then lets requests under way finish."""
    async with AsyncExitStack() as stack:
        client = connect(settings.redis_url, REDIS_TIMEOUT_SECONDS)
        stack.push_async_callback(client.aclose)
        database = Database(
            await stack.enter_async_context(open_pool(settings.postgres_url, settings.postgres_connections))
        )
        proxies = TrustedProxies.parse(settings.trusted_proxies)
        connections = Connections(proxies, max_connections(), settings.max_connections_per_address)
        tokens = TokenAccess(client, clock, settings.failed_attempts_per_minute)
        allowed = AllowedAddresses.parse(settings.webhook_networks)
        sender = await stack.enter_async_context(opened(database, allowed, settings.ca_file))
        parts = Parts(settings, database, StreamLimit(), sender, UploadLimit())
        cors = Cors.parse(settings.cors_origins, _SENDABLE)
        access = Access(tokens.tokens, tokens.rate_limits, SCOPE, proxies, cors)
        api = Api(parts, docs_pages(openapi), access, clock, access_log=settings.access_log)
        runner, supervisor = ImportRunner(settings.postgres_url), Supervisor()
        deliveries = DeliveryConsumer(settings.rabbitmq_url, sender)
        watcher = Watcher(settings.postgres_url, client, deliveries)
        measured = registry(api, parts, runner, watcher)
        measured.register(ConnectionCollector(connections, "rotary_campaigns"))

        async def not_ready_reasons() -> list[str]:
            return [*tokens.not_ready_reasons(), *await _database_reasons(database)]

        ops = await stack.enter_async_context(ops_site(settings.ops_bind, not_ready_reasons, measured))
        await stack.enter_async_context(tokens.running(supervisor))
        stack.push_async_callback(supervisor.close)
        supervisor.start("importing", runner.run())
        supervisor.start("sweeping", _sweep(database))
        supervisor.start("sending webhooks", deliveries.run())
        supervisor.start("watching for webhooks", watcher.run())
        host, port = await stack.enter_async_context(
            listening("ROTARY_CAMPAIGNS_BIND", settings.campaigns_bind, HttpServer(api.handle, connections))
        )
        yield Service(host, port, ops, api, supervisor)


async def _database_reasons(database: Database) -> list[str]:
    try:
        async with database.reading() as connection:
            migrated = await connection.fetchval("SELECT to_regclass('public.campaigns') IS NOT NULL")
    except UnavailableError as error:
        return [error.public_message]
    return [] if migrated else ["PostgreSQL has no Rotary tables: run rotary-admin migrate"]


async def _sweep(database: Database) -> None:
    """Deletes what has had its time."""
    while True:
        try:
            async with database.reading() as connection:
                await forget_old(connection)
                await forget_old_imports(connection)
        except UnavailableError as error:
            _log.warning("not sweeping", reason=error.what)
        await asyncio.sleep(SWEEP_SECONDS)
