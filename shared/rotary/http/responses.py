"""Answers: status, headers and body, most of it made into bytes once and sent many times.

aiohttp builds the headers of each response as a multidict and serialises it. Responses from memory are the same
thousands of times a second, so a `CachedResponse` keeps its head as bytes. A `RawResponse` writes that head, the few
lines that differ by request, and the body in one piece.
"""

import asyncio
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict
from xxhash import xxh3_128_hexdigest

from rotary.auth.rate_limit import RateLimitStatus
from rotary.http.bodies import encode_error

JSON = "application/json; charset=utf-8"
REVALIDATE = "private, max-age=0, must-revalidate"
NO_FACTS = -1
"""The age of an answer in which there are no facts."""
DRAIN_SECONDS = 10.0
"""How long a client may take to read as much of an answer as LONG_BODY_BYTES, beyond what its socket's buffer holds."""
LONG_BODY_BYTES = 65_536
"""A body that is longer is sent as it is: copying it behind the head would take memory for each slow client."""


def header_lines(headers: dict[str, str]) -> bytes:
    """Header lines as they go over the wire. The values are ours or checked: none holds a line end."""
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")


def _head(status: int, headers: dict[str, str]) -> bytes:
    return b"HTTP/1.1 %d %b\r\n%bX-Content-Type-Options: nosniff\r\n" % (
        status,
        HTTPStatus(status).phrase.encode(),
        header_lines(headers),
    )


class ResponseTemplate:
    """What answers of one sort have in common, as bytes: their status line and the headers that are always the same."""

    __slots__ = ("head", "not_modified", "status")

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        self.status = status
        self.head = _head(status, headers)
        kept = {name: value for name, value in headers.items() if name not in ("Content-Type", "Content-Encoding")}
        self.not_modified = _head(304, kept)


class CachedResponse:
    """One answer without what differs by request. `head` ends with a line end, so that lines can follow it.

    With a `body` of None it has no Content-Length: there is none, or it has no end.
    """

    __slots__ = ("body", "etag", "head", "not_modified", "status")

    def __init__(self, sort: ResponseTemplate, body: bytes | None, etag: str = "") -> None:
        self.status = sort.status
        self.body = body or b""
        self.etag = etag
        head, not_modified = sort.head, sort.not_modified
        if etag:
            tag = b"ETag: %b\r\n" % etag.encode()
            head, not_modified = head + tag, not_modified + tag
        self.head = head if body is None else b"%bContent-Length: %d\r\n" % (head, len(body))
        self.not_modified = not_modified


def success_template(headers: dict[str, str] | None = None, content_type: str = JSON) -> ResponseTemplate:
    """The sort of 200 that can be revalidated, with further headers."""
    return ResponseTemplate(200, {"Content-Type": content_type, "Cache-Control": REVALIDATE} | (headers or {}))


SUCCESS = success_template()


def success(body: bytes, sort: ResponseTemplate = SUCCESS) -> CachedResponse:
    """A 200 with a strong ETag, a hash of the body's bytes.

    The hash is not cryptographic: whoever may write a customer's texts could give two bodies one ETag, and mislead
    readers of that customer.
    """
    return CachedResponse(sort, body, f'"{xxh3_128_hexdigest(body)}"')


def failure(status: int, message: str, headers: dict[str, str] | None = None) -> CachedResponse:
    """A failure with its `message`."""
    sort = ResponseTemplate(status, {"Content-Type": JSON, "Cache-Control": "no-store"} | (headers or {}))
    return CachedResponse(sort, encode_error(message))


Reading = tuple[CachedResponse, int]
"""An answer, and the age of its facts in milliseconds; NO_FACTS where it has none."""


_RATE_LIMIT_LINES = b"X-RateLimit-Limit: %d\r\nX-RateLimit-Remaining: %d\r\nX-RateLimit-Reset: %d\r\n"


def rate_limit_lines(status: RateLimitStatus) -> bytes:
    """The X-RateLimit header lines."""
    return _RATE_LIMIT_LINES % status


@lru_cache(maxsize=1024)
def lag_line(seconds: int) -> bytes:
    """The header line that says how old the facts in an answer are."""
    return b"X-Projection-Lag: %d\r\n" % seconds


class DateLine:
    """The `Date` line, made once a second."""

    __slots__ = ("_line", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._line = b""

    def at(self, now_ms: int) -> bytes:
        """The line at a moment in UTC milliseconds."""
        second = now_ms // 1000
        if second != self._second:
            self._second = second
            self._line = b"Date: %b\r\n" % formatdate(second, usegmt=True).encode()
        return self._line


class RawResponse(web.StreamResponse):
    """An answer on its way to one request; all its bytes are known before it is sent.

    The superclass' own state is not set up: everything that the server asks of a response is answered here.
    """

    def __init__(
        self,
        answer: CachedResponse,
        request: web.BaseRequest,
        lines: list[bytes],
        *,
        unmodified: bool = False,
        close: bool = False,
    ) -> None:
        self._keep_alive = request.keep_alive and not close
        self._answer_status = 304 if unmodified else answer.status
        head = answer.not_modified if unmodified else answer.head
        body = b"" if unmodified or request.method == hdrs.METH_HEAD else answer.body
        self._long_body = body if len(body) > LONG_BODY_BYTES else b""
        self._bytes = b"".join((head, *lines, self._connection(request), b"\r\n", b"" if self._long_body else body))

    def _connection(self, request: web.BaseRequest) -> bytes:
        if not self._keep_alive:
            return b"Connection: close\r\n"
        return b"" if request.version == HttpVersion11 else b"Connection: keep-alive\r\n"

    @property
    def status(self) -> int:
        return self._answer_status

    @property
    def headers(self) -> CIMultiDict[str]:
        """Read back from the bytes, for whoever looks: sending does not need it."""
        head = self._bytes.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
        return CIMultiDict((name, value) for name, _, value in (line.partition(": ") for line in head))

    @property
    def body_length(self) -> int:
        return len(self._bytes) + len(self._long_body)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Sends all of it. Raises ConnectionError when the client is gone or does not read."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        transport.write(self._bytes)
        if self._long_body:
            transport.write(self._long_body)
        if request.protocol.writing_paused:
            await self._drain(request, transport)
        return None

    async def _drain(self, request: web.BaseRequest, transport: asyncio.Transport) -> None:
        try:
            async with asyncio.timeout(DRAIN_SECONDS * (1 + len(self._long_body) // LONG_BODY_BYTES)):
                await request.writer.drain()
        except TimeoutError:
            transport.abort()
            raise ConnectionResetError from None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to send."""
        assert not data
