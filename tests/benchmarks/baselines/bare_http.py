"""The ceiling: aiohttp on uvloop, one handler, the same bytes each time, the headers that aiohttp sends itself."""

import argparse
import asyncio
from pathlib import Path

import uvloop
from aiohttp import web


async def _serve(port: int, status: int, body: bytes) -> None:
    async def handle(_request: web.BaseRequest) -> web.StreamResponse:
        if status == 304:
            return web.Response(status=304)
        return web.Response(body=body, content_type="application/json")

    runner = web.ServerRunner(web.Server(handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    await asyncio.Event().wait()


def main() -> None:
    """Serves a file's bytes, or a bare 304, until it is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--status", type=int, default=200)
    parser.add_argument("--body", type=Path, required=True)
    given = parser.parse_args()
    uvloop.run(_serve(given.port, given.status, given.body.read_bytes()))


if __name__ == "__main__":
    main()
