"""The API: one handler from a request to its answer, in the order in which a reader may learn things.

Path, method, token, limit, scope, group: a stranger learns nothing but that a token is wanted, and another customer's
group answers as one that does not exist.
"""

import re
from typing import Protocol

import structlog
from aiohttp import hdrs, web

from rotary.clock import Clock
from rotary.errors import GroupNotFoundError
from rotary_query.answers import Answer, DateLine, Reply
from rotary_query.auth import Grant, bearer_hash
from rotary_query.errors import (
    BODY_TOO_LARGE,
    METHOD_NOT_ALLOWED,
    OPTIONS,
    RESOURCE_NOT_FOUND,
    SERVER_ERROR,
    UNAUTHENTICATED,
    UNAUTHORIZED,
    Refusal,
    answer_to,
    too_many_requests,
)
from rotary_query.protocol import RequestIds
from rotary_query.routes import Kind, Route, Routes

_REQUEST_ID = re.compile(r"[A-Za-z0-9._~+/=:-]{1,128}")
_READING = (hdrs.METH_GET, hdrs.METH_HEAD)
_MAX_BODY_BYTES = 65_536
_log = structlog.get_logger("rotary_query")


class Source(Protocol):
    """Where answers come from. Every method raises UnavailableError when Redis is away or being filled."""

    async def grant(self, sha256_hex: str) -> Grant | None:
        """What the token with this hash grants; None if there is no such token."""

    async def answer(self, route: Route, customer: int, now_ms: int) -> Answer:
        """The body of an API route. Raises GroupNotFoundError."""

    def lag_line(self, now_ms: int) -> bytes:
        """The header line `X-Projection-Lag`."""


class Api:
    """Handles every request of the public port."""

    def __init__(self, source: Source, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._routes = Routes()
        self._ids = RequestIds()
        self._date = DateLine()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers one request; never raises but for a client that is gone."""
        now_ms = self._clock()
        request_id = self._request_id(request)
        extra = [self._date.at(now_ms), b"X-Request-Id: %b\r\n" % request_id.encode()]
        try:
            answer = await self._answer(request, now_ms, extra)
        except Exception as error:  # noqa: BLE001  # whatever happened, the client gets an answer in JSON
            answer = self._failure(error, request_id)
        return Reply(answer, request, b"".join(extra), unmodified=_is_known(request, answer))

    async def _answer(self, request: web.BaseRequest, now_ms: int, extra: list[bytes]) -> Answer:
        route = self._routes.find(request.raw_path)
        if route.kind is Kind.NOTHING:
            return RESOURCE_NOT_FOUND
        if request.method == hdrs.METH_OPTIONS:
            return OPTIONS
        if request.method not in _READING:
            return METHOD_NOT_ALLOWED
        if (request.content_length or 0) > _MAX_BODY_BYTES:
            return BODY_TOO_LARGE
        grant = await self._grant(request, now_ms)
        if grant.window is not None:
            allowed = grant.window.hit(now_ms)
            extra.append(grant.window.lines(now_ms))
            if not allowed:
                return too_many_requests(grant.window.retry_after(now_ms))
        if not grant.in_scope:
            return UNAUTHORIZED
        if route.kind is not Kind.GROUPS and not route.group_id:
            raise GroupNotFoundError
        answer = await self._source.answer(route, grant.customer_id, now_ms)
        if route.kind is Kind.MONITOR:
            extra.append(self._source.lag_line(now_ms))
        return answer

    async def _grant(self, request: web.BaseRequest, now_ms: int) -> Grant:
        found = await self._source.grant(bearer_hash(request.headers.get(hdrs.AUTHORIZATION)))
        if found is None or found.expires_ms <= now_ms:
            raise Refusal(UNAUTHENTICATED)
        return found

    def _failure(self, error: Exception, request_id: str) -> Answer:
        answer = answer_to(error)
        if answer is SERVER_ERROR:
            _log.error("request failed", request_id=request_id, exc_info=error)
        return answer

    def _request_id(self, request: web.BaseRequest) -> str:
        given = request.headers.get("X-Request-Id")
        return given if given is not None and _REQUEST_ID.fullmatch(given) else self._ids.next()


def _is_known(request: web.BaseRequest, answer: Answer) -> bool:
    """Whether the client already has these bytes (RFC 9110, 13.1.2)."""
    known = request.headers.get(hdrs.IF_NONE_MATCH)
    if known is None or not answer.etag:
        return False
    return known == answer.etag or known.strip() == "*" or answer.etag in _tags(known)


def _tags(known: str) -> list[str]:
    return [tag.strip().removeprefix("W/") for tag in known.split(",")]
