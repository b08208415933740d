"""The HTTP server below the API: aiohttp's, with JSON where it would answer in text."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from secrets import token_hex

from aiohttp import hdrs, web
from aiohttp.http_exceptions import LineTooLong

from rotary_query.answers import Reply
from rotary_query.auth import hash_bearer
from rotary_query.errors import BAD_REQUEST, HEAD_TOO_LARGE, SERVER_ERROR

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

KEEP_ALIVE_SECONDS = 75.0
"""How long a connection may be idle, and a request's head on its way: longer than proxies keep theirs open."""
MAX_TARGET_BYTES = 4096
MAX_FIELD_BYTES = 8190
MAX_FIELDS = 64


class RequestIds:
    """Gives each request an id that is unique among processes and starts: a random prefix and a number."""

    def __init__(self) -> None:
        self._format = token_hex(6).encode() + b"-%x"
        self._numbers = count(1)

    def next(self) -> bytes:
        """The next id."""
        return self._format % next(self._numbers)


class QueryProtocol(web.RequestHandler):
    """One connection. Only what aiohttp itself cannot parse ends in `handle_error`; the API answers all the rest."""

    __slots__ = ("_authorization", "_sha256_hex")

    def bearer_hash(self, authorization: str) -> str | None:
        """The hash of a request's token. A client that sends the same header again has it hashed only once."""
        if authorization != getattr(self, "_authorization", None):
            self._authorization = authorization
            self._sha256_hex = hash_bearer(authorization)
        return self._sha256_hex

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  # aiohttp's own words about the request: they stay here
    ) -> web.StreamResponse:
        """Refuses a request in JSON and closes the connection, for what follows cannot be told apart any more."""
        if status == 400:
            answer = HEAD_TOO_LARGE if isinstance(exc, LineTooLong) else BAD_REQUEST
        else:
            answer = SERVER_ERROR
            self.log_exception("request failed", exc_info=exc)
        return Reply(answer, request, [b"X-Request-Id: %b\r\n" % token_hex(8).encode()], close=True)


class QueryServer(web.Server):
    """Makes a `QueryProtocol` for each connection. A client that goes away cancels the handling of its request."""

    def __init__(self, handler: Handler) -> None:
        super().__init__(handler, handler_cancellation=True)

    def __call__(self) -> web.RequestHandler:
        """Called by the event loop for a new connection."""
        return QueryProtocol(
            self,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            access_log=None,  # type: ignore[arg-type]  # None turns it off; the API writes its own
            max_line_size=MAX_TARGET_BYTES,
            max_field_size=MAX_FIELD_BYTES,
            max_headers=MAX_FIELDS,
            lingering_time=2.0,
            auto_decompress=False,
        )


def bearer_hash(request: web.BaseRequest) -> str | None:
    """The SHA-256, in hex, of the request's bearer token, if it has one."""
    authorization = request.headers.get(hdrs.AUTHORIZATION)
    if authorization is None:
        return None
    protocol = request.protocol
    return protocol.bearer_hash(authorization) if isinstance(protocol, QueryProtocol) else hash_bearer(authorization)
