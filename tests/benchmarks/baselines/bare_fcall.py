"""Nothing but the pick: aiohttp on uvloop, one call of the atomic function a request, through redis-py.

No token, no limit, no body read, and the answer is not decoded: a fixed text is returned.
"""

import argparse
import asyncio
from collections.abc import Callable
from secrets import token_hex
from typing import cast

import msgspec
import uvloop
from aiohttp import web

from rotary.domain.rotation.outcomes import PickRequest
from rotary.redis import keys
from rotary.redis.connection import connect
from rotary.redis.picks import MAX_AGE_MS, Picks
from rotary.redis.pipeline import Pipeline

CONNECTIONS = 64
_PICKED = b"\x94\xa2OK"
_encode = msgspec.msgpack.Encoder().encode


async def _payloads(redis_url: str, customer: int, group: int) -> Callable[[], bytes]:
    """What makes the function's argument for one more pick, once the group's plan is there."""
    async with connect(redis_url) as redis:
        pipeline = Pipeline(redis)
        picks = Picks(pipeline)
        await picks.pick(customer, group, [PickRequest()])
        known = picks.plans.known(customer, group)
        assert known is not None
        newest = picks.plans.newest[keys.bucket_of(customer)].decode()
        await picks.close()
        await pipeline.close()
    # As rotary.redis.picks sends it: offset, group, digest, oldest facts, what was seen, no
    # classes, and one pick without wishes.
    return lambda: _encode((0, str(group), known.digest, MAX_AGE_MS, 0, newest, [], 1, [token_hex(13)]))


async def _serve(port: int, redis_url: str, customer: int, group: int, body: bytes) -> None:
    payload = await _payloads(redis_url, customer, group)
    key = keys.picks(customer)
    async with connect(redis_url, max_connections=CONNECTIONS) as redis:

        async def handle(_request: web.BaseRequest) -> web.StreamResponse:
            reply = cast("bytes", await redis.fcall("pick_1", 1, key, payload()))
            if not reply.startswith(_PICKED):
                return web.Response(status=409)
            return web.Response(status=201, body=body, content_type="application/json")

        runner = web.ServerRunner(web.Server(handle, access_log=None))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
        await asyncio.Event().wait()


def main() -> None:
    """Picks until it is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--redis", required=True)
    parser.add_argument("--customer", type=int, required=True)
    parser.add_argument("--group", type=int, required=True)
    given = parser.parse_args()
    body = msgspec.json.encode({"data": {"id": "x" * 30, "number": "+84900000000", "reason": "cap_based"}})
    uvloop.run(_serve(given.port, given.redis, given.customer, given.group, body))


if __name__ == "__main__":
    main()
