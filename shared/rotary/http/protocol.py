"""The HTTP server below the API: aiohttp's, with JSON where it would answer in text."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from itertools import count
from secrets import token_hex
from typing import cast

from aiohttp import hdrs, web
from aiohttp.http_exceptions import LineTooLong
from multidict import istr

from rotary.auth.grant import hash_bearer
from rotary.http.connections import Connections
from rotary.http.errors import BAD_REQUEST, HEAD_TOO_LARGE, HEAD_TOO_SLOW, SERVER_ERROR, TOO_MANY_CONNECTIONS
from rotary.http.request_heads import BoundedParser
from rotary.http.responses import CachedResponse, RawResponse

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

KEEP_ALIVE_SECONDS = 75.0
"""How long a connection may be idle: longer than proxies keep theirs open."""
HEAD_SECONDS = 10.0
"""How long a request's head may take from its first byte to its last."""
REFUSED_SECONDS = 1.0
"""How long a refused client has to read its answer."""
MAX_TARGET_BYTES = 4096
MAX_FIELD_BYTES = 8190
MAX_FIELDS = 64
_REQUEST_ID = istr("X-Request-Id")
"""A header is looked up by a name whose case is known."""
_ID = re.compile(r"[A-Za-z0-9._~+/=:-]{1,128}")


class RequestIds:
    """Gives each request the id that its client sent, or one that is unique among processes and starts."""

    def __init__(self) -> None:
        self._format = token_hex(6).encode() + b"-%x"
        self._numbers = count(1)

    def of(self, request: web.BaseRequest) -> bytes:
        """The id of a new request."""
        given = request.headers.get(_REQUEST_ID)
        return given.encode() if given is not None and _ID.fullmatch(given) else self._format % next(self._numbers)


class HttpProtocol(web.RequestHandler):
    """One connection. Only what aiohttp itself cannot parse ends in `handle_error`; the API answers all the rest."""

    __slots__ = (
        "_address",
        "_answered",
        "_authorization",
        "_connections",
        "_head_timer",
        "_is_half_closed",
        "_is_streaming",
        "_sha256_hex",
    )

    def __init__(self, server: "HttpServer", connections: Connections) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            access_log=None,  # type: ignore[arg-type]  # None turns it off; the API writes its own
            max_line_size=MAX_TARGET_BYTES,
            max_field_size=MAX_FIELD_BYTES,
            max_headers=MAX_FIELDS,
            lingering_time=2.0,
            auto_decompress=False,
        )
        self._parser = BoundedParser(self._parser, self)  # type: ignore[assignment, arg-type]  # all of it that is used
        self._connections = connections
        self._address: str | None = None  # under which it is counted, once it is admitted
        self._answered = 0
        self._authorization: str | None = None
        self._sha256_hex: str | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._is_half_closed = False
        self._is_streaming = False

    def bearer_hash(self, authorization: str) -> str | None:
        """The hash of a request's token. A client that sends the same header again has it hashed only once."""
        if authorization != self._authorization:
            self._authorization = authorization
            self._sha256_hex = hash_bearer(authorization)
        return self._sha256_hex

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop. Where too many are connected, the connection is answered and closed."""
        self._address = self._connections.admit(_peer(transport))
        if self._address is not None:
            super().connection_made(transport)
            return
        self._close = True  # what arrives is not read
        refused = cast("asyncio.Transport", transport)  # uvloop's transports are no subclass
        refused.write(_last_words(TOO_MANY_CONNECTIONS))
        # Closing at once would make the client's system discard the answer, if the request has arrived already.
        refused.write_eof()
        self._loop.call_later(REFUSED_SECONDS, refused.abort)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Called by the event loop."""
        self.head_ended()
        if self._address is not None:
            self._connections.leave(self._address)
            self._address = None
        super().connection_lost(exc)

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002  # aiohttp's signature
        """Called by aiohttp for each piece of a body that was read. Unless reading was paused, nothing waits for it."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def eof_received(self) -> bool:  # type: ignore[override]  # aiohttp always closes, asyncio lets a protocol choose
        """Called by the event loop when the client sends no more: requests that it has sent are still answered.

        It may as well be gone, and a stream could not tell for long: that ends here.
        """
        self._is_half_closed = True
        return self._is_answering() and not self._is_streaming

    def log_access(self, request: web.BaseRequest, response: web.StreamResponse, time: float | None) -> None:  # noqa: ARG002  # aiohttp's signature
        """Called by aiohttp after each answer; the last one to a client that sends no more closes the connection."""
        self._answered += 1
        if self._is_half_closed and not self._messages:
            self.close()

    def stream_begins(self) -> None:
        """The answer to this request is a stream. One to a client that sends no more ends after its first snapshot."""
        self._is_streaming = True
        if self._is_half_closed and self.transport is not None:
            self._loop.call_soon(self.transport.close)

    def head_began(self) -> None:
        """Part of a request's head has arrived: the rest has HEAD_SECONDS to follow."""
        if self._head_timer is None:
            self._head_timer = self._loop.call_later(HEAD_SECONDS, self._head_is_late)

    def head_ended(self) -> None:
        """The head is complete, or the connection is gone."""
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _is_answering(self) -> bool:
        """Whether there are requests without an answer.

        aiohttp waits for the next request some turns of the event loop after an answer. The client may be gone by then.
        """
        return self._request_count > self._answered

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.transport is None or self._close or self._force_close:
            return
        self._connections.tell("request head too slow", _peer(self.transport))
        if not self._is_answering():  # else the answer to another request is on its way
            self.transport.write(_last_words(HEAD_TOO_SLOW))
        self.force_close()

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
        return RawResponse(answer, request, [_id_line()], close=True)


class HttpServer(web.Server):
    """Makes a `HttpProtocol` for each connection. A client that goes away cancels the handling of its request."""

    def __init__(self, handler: Handler, connections: Connections) -> None:
        super().__init__(handler, handler_cancellation=True)
        self._admission = connections

    def __call__(self) -> web.RequestHandler:
        """Called by the event loop for a new connection."""
        return HttpProtocol(self, self._admission)


def bearer_hash(request: web.BaseRequest) -> str | None:
    """The SHA-256, in hex, of the request's bearer token, if it has one that could exist."""
    authorization = request.headers.get(hdrs.AUTHORIZATION)
    if authorization is None:
        return None
    protocol = request.protocol
    return protocol.bearer_hash(authorization) if isinstance(protocol, HttpProtocol) else hash_bearer(authorization)


def stream_begins(request: web.BaseRequest) -> None:
    """The answer to this request is a stream."""
    if isinstance(request.protocol, HttpProtocol):
        request.protocol.stream_begins()


def _peer(transport: asyncio.BaseTransport) -> str:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else ""


def _id_line() -> bytes:
    return b"X-Request-Id: %b\r\n" % token_hex(8).encode()


def _last_words(answer: CachedResponse) -> bytes:
    """An answer to what was never a request."""
    return b"".join((answer.head, _id_line(), b"Connection: close\r\n\r\n", answer.body))
