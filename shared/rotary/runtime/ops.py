"""The operator's endpoints, on a port of their own: liveness, readiness, metrics."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler
from msgspec import Struct
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from rotary.errors import ConfigurationError
from rotary.runtime.settings import bind_address

NotReadyReasons = Callable[[], Awaitable[Sequence[str]]]
"""Returns what a program lacks to do its work, one line each; empty when it is ready."""


class Readiness(Struct, frozen=True):
    """The body of `/readyz`."""

    ready: bool
    missing: list[str]


def ops_app(not_ready_reasons: NotReadyReasons, registry: CollectorRegistry) -> web.Application:
    """`/livez` is 200 while the event loop runs; `/readyz` is 200, or 503 with what is missing; `/metrics`."""

    async def livez(_request: web.Request) -> web.Response:
        return _json(200, {"alive": True})

    async def readyz(_request: web.Request) -> web.Response:
        lacking = list(await not_ready_reasons())
        return _json(503 if lacking else 200, Readiness(not lacking, lacking))

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application(middlewares=[_json_errors])
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    app.on_response_prepare.append(_hide_version)
    return app


@asynccontextmanager
async def ops_site(
    bind: str, not_ready_reasons: NotReadyReasons, registry: CollectorRegistry
) -> AsyncIterator[tuple[str, int]]:
    """Serves `ops_app` on `host:port` while the context is open. Yields the bound address; port 0 picks a free one.

    Raises ConfigurationError when it can't listen there.
    """
    runner = web.AppRunner(
        ops_app(not_ready_reasons, registry), access_log=None, keepalive_timeout=75, shutdown_timeout=1
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, *bind_address(bind)).start()
        except OSError as error:
            raise ConfigurationError(f"ROTARY_OPS_BIND: {error.strerror}") from error
        host, port = runner.addresses[0][:2]
        yield host, port
    finally:
        await runner.cleanup()


@web.middleware
async def _json_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return _json(error.status, {"message": error.reason}, allow)


def _json(status: int, body: object, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status, body=msgspec.json.encode(body), headers=headers, content_type="application/json", charset="utf-8"
    )


async def _hide_version(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "rotary"
    response.headers["Cache-Control"] = "no-store"
