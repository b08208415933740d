"""A customer's HTTPS server that is told by webhooks, on loopback."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from msgspec import Struct
from multidict import CIMultiDictProxy

from rotary_stack.servers.certificates import Certificates, make_certificates


class Received(Struct):
    """One request."""

    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def event(self) -> Any:
        """The body, decoded. Any: JSON."""
        return json.loads(self.body)

    @property
    def summary(self) -> tuple[str, int]:
        """The event's type and the id of its subject."""
        data = self.event["data"]
        return self.event["type"], data.get("caller_id_id") or data.get("group_id") or data.get("webhook_id")


class Receiver:
    """Answers with `statuses`, one after the other, and with 200 when there are no more; once `answers` is set."""

    def __init__(self, certificates: Certificates) -> None:
        self.certificates = certificates
        self.received: asyncio.Queue[Received] = asyncio.Queue()
        self.statuses: list[int] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.location = ""
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        """Answers one request."""
        self.received.put_nowait(Received(request.headers, await request.read()))
        await self.answers.wait()
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, headers={"Location": self.location} if self.location else None)

    async def next(self, seconds: float = 10) -> Received:
        """The next request."""
        return await asyncio.wait_for(self.received.get(), seconds)

    async def told(self, count: int, seconds: float = 10) -> list[tuple[str, int]]:
        """The summaries of the next requests, sorted."""
        return sorted([(await self.next(seconds)).summary for _ in range(count)])


@asynccontextmanager
async def receiver(directory: Path) -> AsyncIterator[Receiver]:
    """A server with a certificate of an authority of its own."""
    made = Receiver(make_certificates(directory / "certificates"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made.certificates.certificate, made.certificates.key)
    app = web.Application()
    app.router.add_post("/hook", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        made.url = f"https://127.0.0.1:{runner.addresses[0][1]}/hook"
        yield made
    finally:
        await runner.cleanup()
