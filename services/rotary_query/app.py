"""The API: one handler from a request to its answer, in the order in which a reader may learn things.

Path, method, token, limit, scope, group: a stranger learns nothing but that a token is wanted, and another customer's
group answers as one that does not exist. What memory can answer is answered without waiting for anything.
"""

import re
from collections import Counter
from collections.abc import Mapping
from time import perf_counter

import structlog
from aiohttp import hdrs, web

from rotary.clock import Clock
from rotary_query.answers import Answer, DateLine, Reply
from rotary_query.auth import Grant
from rotary_query.cors import Cors
from rotary_query.errors import (
    BODY_TOO_LARGE,
    GROUP_NOT_FOUND,
    METHOD_NOT_ALLOWED,
    OPTIONS,
    RESOURCE_NOT_FOUND,
    SERVER_ERROR,
    TOO_MANY_STREAMS,
    UNAUTHENTICATED,
    UNAUTHORIZED,
    answer_to,
    too_many_requests,
)
from rotary_query.protocol import RequestIds, bearer_hash
from rotary_query.routes import Kind, Route, Routes
from rotary_query.source import Source
from rotary_query.stream import StreamReply, is_wanted

_REQUEST_ID = re.compile(r"[A-Za-z0-9._~+/=:-]{1,128}")
_MAX_BODY_BYTES = 65_536
_log = structlog.get_logger("rotary_query")


class Exchange:
    """One request on its way to an answer: when it came, what it asks for, whose it is, and the lines of its own."""

    __slots__ = ("grant", "lines", "now_ms", "request", "request_id", "route")

    def __init__(self, request: web.BaseRequest, route: Route, now_ms: int, request_id: bytes) -> None:
        self.request = request
        self.route = route
        self.now_ms = now_ms
        self.request_id = request_id
        self.lines = [b"X-Request-Id: ", request_id, b"\r\n"]
        self.grant: Grant | None = None

    def admit(self, grant: Grant) -> Answer | None:
        """Counts the request against its token's limit; the answer that refuses it, if it is refused."""
        if grant.expires_ms <= self.now_ms:
            return UNAUTHENTICATED
        self.grant = grant
        if (window := grant.window) is not None:
            allowed = window.hit(self.now_ms)
            self.lines.append(window.lines(self.now_ms))
            if not allowed:
                return too_many_requests(window.retry_after(self.now_ms))
        if not grant.in_scope:
            return UNAUTHORIZED
        return None if self.route.group_id or self.route.kind == "groups" else GROUP_NOT_FOUND


class Api:
    """Handles every request of the public port. `pages` are the answers that need no token."""

    def __init__(
        self, source: Source, pages: Mapping[Kind, Answer], cors: Cors, clock: Clock, *, access_log: bool = False
    ) -> None:
        self._source = source
        self._pages = pages
        self._cors = cors
        self._clock = clock
        self._access_log = access_log
        self._routes = Routes()
        self._ids = RequestIds()
        self._date = DateLine()
        self.answered: Counter[tuple[Kind, int]] = Counter()
        """Answers given so far, by what was asked for and status."""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers one request; whatever goes wrong, in JSON."""
        began = perf_counter() if self._access_log else 0.0
        route = self._routes.find(request.raw_path)
        exchange = Exchange(request, route, self._clock(), self._request_id(request))
        try:
            answer = self._known(exchange)
            if answer is None:
                answer = await self._read(exchange)
            reply = self._reply(exchange, answer)
        except Exception as error:  # noqa: BLE001  # it becomes an answer, and a log entry if it is a defect
            reply = self._reply(exchange, self._failure(exchange, error))
        self.answered[route.kind, reply.status] += 1
        if self._access_log:
            _log_access(exchange, reply, perf_counter() - began)
        return reply

    def _known(self, exchange: Exchange) -> Answer | None:
        """The answer, if that takes neither a read nor a verification."""
        route = exchange.route
        answer = _unasked(exchange) or self._pages.get(route.kind)
        if answer is not None:
            return answer
        sha256_hex = bearer_hash(exchange.request)
        if sha256_hex is None:
            return UNAUTHENTICATED
        grant = self._source.tokens.known(sha256_hex)
        if grant is None:
            return None
        return exchange.admit(grant) or self._source.mirrored(route, grant.customer_id, exchange.now_ms)

    async def _read(self, exchange: Exchange) -> Answer:
        """The answer, with what Redis must be asked for it. Raises UnavailableError and Refusal."""
        grant = exchange.grant
        if grant is None:
            sha256_hex = bearer_hash(exchange.request)
            assert sha256_hex is not None
            grant = await self._source.tokens.find_for(sha256_hex, exchange.request.remote or "")
            refusal = UNAUTHENTICATED if grant is None else exchange.admit(grant)
            if grant is None or refusal is not None:
                return refusal or UNAUTHENTICATED
        return await self._source.answer(exchange.route, grant.customer_id, exchange.now_ms)

    def _reply(self, exchange: Exchange, answer: Answer) -> web.StreamResponse:
        request, lines = exchange.request, exchange.lines
        lines.append(self._date.at(exchange.now_ms))
        lines.append(self._cors.lines(request))
        if exchange.route.kind == "monitor" and answer.status == 200:
            lines.append(self._source.watcher.lag_line(exchange.now_ms))
            if exchange.grant is not None and is_wanted(request):
                if self._source.streams.is_full:
                    return Reply(TOO_MANY_STREAMS, request, lines)
                return StreamReply(self._source.streams, exchange.grant, exchange.route.group_id, answer, lines)
        return Reply(answer, request, lines, unmodified=_is_known(request, answer), close=answer is BODY_TOO_LARGE)

    def _failure(self, exchange: Exchange, error: Exception) -> Answer:
        answer = answer_to(error)
        if answer is SERVER_ERROR:
            _log.error("request failed", request_id=exchange.request_id.decode(), exc_info=error)
        return answer

    def _request_id(self, request: web.BaseRequest) -> bytes:
        given = request.headers.get("X-Request-Id")
        return given.encode() if given is not None and _REQUEST_ID.fullmatch(given) else self._ids.next()


def _unasked(exchange: Exchange) -> Answer | None:
    """What anybody is told, whatever the token."""
    request = exchange.request
    if exchange.route.kind == "nothing":
        return RESOURCE_NOT_FOUND
    if request.method not in ("GET", "HEAD"):
        return OPTIONS if request.method == "OPTIONS" else METHOD_NOT_ALLOWED
    if request.can_read_body and (request.content_length or _MAX_BODY_BYTES + 1) > _MAX_BODY_BYTES:
        return BODY_TOO_LARGE
    return None


def _is_known(request: web.BaseRequest, answer: Answer) -> bool:
    """Whether the client already has these bytes (RFC 9110, 13.1.2)."""
    known = request.headers.get(hdrs.IF_NONE_MATCH)
    if known is None or not answer.etag:
        return False
    return known == answer.etag or known.strip() == "*" or answer.etag in _tags(known)


def _tags(known: str) -> list[str]:
    return [tag.strip().removeprefix("W/") for tag in known.split(",")]


def _log_access(exchange: Exchange, reply: web.StreamResponse, seconds: float) -> None:
    request = exchange.request
    _log.info(
        "request",
        method=request.method,
        route=exchange.route.kind,
        group_id=exchange.route.group_id,
        customer_id=exchange.grant.customer_id if exchange.grant else None,
        status=reply.status,
        milliseconds=round(seconds * 1000, 3),
        remote=request.remote,
        request_id=exchange.request_id.decode(),
    )
