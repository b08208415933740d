"""Which web pages of other origins may read the API: none but those on the list."""

from typing import Annotated

from aiohttp import hdrs, web
from msgspec import Meta

from rotary.http.responses import header_lines

_READABLE = (
    "ETag, Retry-After, X-Projection-Lag, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, X-Request-Id"
)
_SENDABLE = "Authorization, Cache-Control, If-None-Match, Last-Event-ID, X-Request-Id"

Origins = Annotated[
    str,
    Meta(
        pattern=r"^\s*(https?://[^\s,/]+/?\s*(,\s*|$))*$",
        description="origins such as https://board.example, separated by commas",
    ),
]
"""The setting that `Cors.parse` parses."""


class Cors:
    """The header lines for a request's origin, empty for one that is not allowed."""

    def __init__(self, origins: frozenset[str], sendable: str = _SENDABLE) -> None:
        self._refused = b"Vary: Origin\r\n" if origins else b""
        self._granted = {origin: _grant(origin) for origin in origins}
        self._sendable = sendable

    @classmethod
    def parse(cls, origins: str, sendable: str = _SENDABLE) -> "Cors":
        """Allows origins separated by commas; none unless configured."""
        return cls(frozenset(origin.strip().rstrip("/") for origin in origins.split(",") if origin.strip()), sendable)

    def lines(self, request: web.BaseRequest) -> bytes:
        """What to add to the answer to this request."""
        if not self._granted:
            return b""
        return self._granted.get(request.headers.get(hdrs.ORIGIN, ""), self._refused)

    def preflight(self, request: web.BaseRequest, methods: str) -> bytes:
        """What to add to the answer to OPTIONS besides, if a browser asks for leave: the methods of this path."""
        if hdrs.ACCESS_CONTROL_REQUEST_METHOD not in request.headers:
            return b""
        if request.headers.get(hdrs.ORIGIN, "") not in self._granted:
            return b""
        return header_lines(
            {
                "Access-Control-Allow-Methods": methods,
                "Access-Control-Allow-Headers": self._sendable,
                "Access-Control-Max-Age": "600",
            }
        )


def _grant(origin: str) -> bytes:
    headers = {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": _READABLE, "Vary": "Origin"}
    return header_lines(headers)
