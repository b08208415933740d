"""Something on the way to the engine that loses answers: what was asked has been done all the same."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from yarl import URL


class LossyEngine:
    """Passes requests on to an engine. `url` is the engine's, by way of here."""

    def __init__(self, base: str, session: aiohttp.ClientSession) -> None:
        self._base = base
        self._session = session
        self.url = ""
        self.losing = 0
        """So many of the next answers are lost, and their connections with them."""
        self.failing = 0
        """So many of the next requests are answered with 502, and do not reach the engine."""
        self.asked: list[tuple[str, str, str | None]] = []
        """Method, path and idempotency key of every request."""

    async def handle(self, request: web.BaseRequest) -> web.Response:
        path = request.rel_url.raw_path
        self.asked.append((request.method, path, request.headers.get("Idempotency-Key")))
        if self.failing:
            self.failing -= 1
            return web.Response(status=502, text="<html>Bad gateway</html>")
        headers = {name: value for name, value in request.headers.items() if name != "Host"}
        url, body = URL(self._base + path, encoded=True), await request.read()
        async with self._session.request(request.method, url, data=body, headers=headers) as answer:
            content = await answer.read()
        if self.losing:
            self.losing -= 1
            assert request.transport is not None
            request.transport.abort()
        named = {name: value for name, value in answer.headers.items() if name.lower() in _PASSED}
        return web.Response(status=answer.status, body=content, headers=named)


_PASSED = {"retry-after", "x-request-id", "content-type"}


@asynccontextmanager
async def lossy_engine(base: str) -> AsyncIterator[LossyEngine]:
    """One that loses nothing until it is told to."""
    async with aiohttp.ClientSession() as session:
        lossy = LossyEngine(base, session)
        runner = web.ServerRunner(web.Server(lossy.handle))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        lossy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield lossy
        finally:
            await runner.cleanup()
