"""Reading a request's body without aiohttp's `Request`: nearly every one has arrived together with its head."""

import asyncio

from aiohttp import HttpVersion11, hdrs, web

from rotary.http.errors import BODY_TOO_LARGE, BODY_TOO_SLOW, Refusal

BODY_SECONDS = 10.0
"""How long a body may take to arrive."""


async def read_body(request: web.BaseRequest, limit: int, seconds: float | None = None) -> bytes:
    """The whole body. Raises Refusal for more than `limit` bytes, or more than `seconds` (BODY_SECONDS)."""
    body = arrived_body(request, limit)
    if body is not None:
        return body
    return await _wait(request, limit, BODY_SECONDS if seconds is None else seconds)


def arrived_body(request: web.BaseRequest, limit: int) -> bytes | None:
    """Likewise, if all of it is here; else None, and nothing is read."""
    content = request.content
    if not content.is_eof():
        return None
    body = content.read_nowait(-1)
    if len(body) > limit:
        raise Refusal(BODY_TOO_LARGE)
    return body


async def _wait(request: web.BaseRequest, limit: int, seconds: float) -> bytes:
    send_continue(request)
    parts, length = list[bytes](), 0
    try:
        async with asyncio.timeout(seconds):
            while part := await request.content.readany():
                length += len(part)
                if length > limit:
                    raise Refusal(BODY_TOO_LARGE)
                parts.append(part)
    except TimeoutError:
        raise Refusal(BODY_TOO_SLOW) from None
    return b"".join(parts)


def send_continue(request: web.BaseRequest) -> None:
    """Tells a client to send the body, if it waits to be told. libcurl does so where a body is long, for a second.

    Whoever is refused before the body is read is told nothing, and need not send it.
    """
    transport = request.transport
    if request.version < HttpVersion11 or transport is None or transport.is_closing():
        return
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
