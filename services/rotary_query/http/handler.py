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

from rotary.auth.grant import Grant, has_checksum
from rotary.clock import Clock
from rotary.http.client_address import TrustedProxies
from rotary.http.cors import Cors
from rotary.http.errors import (
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
from rotary.http.negotiation import has_current, wants_stream
from rotary.http.protocol import RequestIds, bearer_hash, stream_begins
from rotary.http.responses import NO_FACTS, CachedResponse, DateLine, RawResponse, failure, lag_line, rate_limit_lines
from rotary_query.cache.group_reader import GroupReader
from rotary_query.http.endpoints import Kind, Route, Routes
from rotary_query.http.sse import StreamResponse, behind

_REQUEST_ID = re.compile(r"[A-Za-z0-9._~+/=:-]{1,128}")
_MAX_BODY_BYTES = 65_536
_ASK_REDIS = failure(503, "Redis was not asked.")
"""Never sent: only Redis can tell whether the token is over its limit."""
_log = structlog.get_logger("rotary_query")


class RequestContext:
    """One request on its way to an answer: when it came, what it asks for, whose it is, and the lines of its own."""

    __slots__ = ("age_ms", "grant", "lines", "now_ms", "request", "request_id", "route")

    def __init__(self, request: web.BaseRequest, route: Route, now_ms: int, request_id: bytes) -> None:
        self.request = request
        self.route = route
        self.now_ms = now_ms
        self.request_id = request_id
        self.lines = [b"X-Request-Id: ", request_id, b"\r\n"]
        self.grant: Grant | None = None
        self.age_ms = NO_FACTS

    def admit(self, grant: Grant) -> CachedResponse | None:
        """Counts the request against its token's limit; the answer that refuses it, if it is refused.

        _ASK_REDIS where the window is dry: nothing was counted.
        """
        if grant.expires_ms <= self.now_ms:
            return UNAUTHENTICATED
        if (window := grant.window) is not None:
            allowed = window.hit(self.now_ms)
            if not allowed and window.is_dry(self.now_ms):
                return _ASK_REDIS
            self.grant = grant
            self.lines.append(rate_limit_lines(window.status(self.now_ms)))
            if not allowed:
                return too_many_requests(window.retry_after(self.now_ms))
        self.grant = grant
        if not grant.in_scope:
            return UNAUTHORIZED
        return None if self.route.group_id or self.route.kind == "groups" else GROUP_NOT_FOUND


class Api:
    """Handles every request of the public port. `pages` are the answers that need no token."""

    def __init__(
        self,
        reader: GroupReader,
        pages: Mapping[Kind, CachedResponse],
        cors: Cors,
        proxies: TrustedProxies,
        clock: Clock,
        *,
        access_log: bool = False,
    ) -> None:
        self._proxies = proxies
        self._reader = reader
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
        context = RequestContext(request, route, self._clock(), self._request_id(request))
        try:
            answer = self._known(context)
            if answer is None:
                answer = await self._read(context)
            reply = self._reply(context, answer)
        except Exception as error:  # noqa: BLE001  # it becomes an answer, and a log entry if it is a defect
            reply = self._reply(context, self._failure(context, error))
        self.answered[route.kind, reply.status] += 1
        if self._access_log:
            _log_access(context, reply, self._proxies.client(request), perf_counter() - began)
        return reply

    def _known(self, context: RequestContext) -> CachedResponse | None:
        """The answer, if that takes neither a read nor a verification."""
        route = context.route
        answer = _unasked(context) or self._pages.get(route.kind)
        if answer is not None:
            return answer
        sha256_hex = bearer_hash(context.request)
        if sha256_hex is None:
            return UNAUTHENTICATED
        grant = self._reader.tokens.known(sha256_hex)
        if grant is None:
            return None
        if (refusal := context.admit(grant)) is not None:
            return None if refusal is _ASK_REDIS else refusal
        reading = self._reader.cached(route, grant.customer_id, context.now_ms)
        if reading is None:
            return None
        answer, context.age_ms = reading
        return answer

    async def _read(self, context: RequestContext) -> CachedResponse:
        """The answer, with what Redis must be asked for it. Raises UnavailableError and TooManyAttemptsError."""
        grant = context.grant
        if grant is None:
            sha256_hex = bearer_hash(context.request)
            assert sha256_hex is not None
            grant = await self._grant(context, sha256_hex)
            refusal = UNAUTHENTICATED if grant is None else context.admit(grant)
            if grant is None or refusal is not None:
                return refusal or UNAUTHENTICATED
        answer, context.age_ms = await self._reader.answer(context.route, grant.customer_id, context.now_ms)
        return answer

    async def _grant(self, context: RequestContext, sha256_hex: str) -> Grant | None:
        """What the token grants, with its window filled so that the request can be counted."""
        request = context.request
        is_checked = has_checksum(request.headers[hdrs.AUTHORIZATION])
        grant = await self._reader.tokens.find_for(sha256_hex, self._proxies.client(request), is_checked=is_checked)
        context.now_ms = self._clock()
        if grant is not None and grant.window is not None and context.now_ms < grant.expires_ms:
            while grant.window.is_dry(context.now_ms):
                await self._reader.rate_limits.fill(grant.window)
                context.now_ms = self._clock()
        return grant

    def _reply(self, context: RequestContext, answer: CachedResponse) -> web.StreamResponse:
        request, lines = context.request, context.lines
        lines.append(self._date.at(context.now_ms))
        lines.append(self._cors.lines(request))
        if context.age_ms != NO_FACTS:
            lines.append(lag_line(context.age_ms // 1000))
            if context.grant is not None and wants_stream(request):
                return self._stream(context, context.grant, answer)
        return RawResponse(
            answer, request, lines, unmodified=has_current(request, answer.etag), close=answer is BODY_TOO_LARGE
        )

    def _stream(self, context: RequestContext, grant: Grant, first: CachedResponse) -> web.StreamResponse:
        streams = self._reader.streams
        refusal = TOO_MANY_STREAMS if streams.is_full else streams.limits.refusal(grant)
        if refusal is not None:
            return RawResponse(refusal, context.request, context.lines)
        stream_begins(context.request)
        staleness = behind(context.age_ms, self._reader.redis_now_ms())
        return StreamResponse(streams, grant, context.route.group_id, first, staleness, context.lines)

    def _failure(self, context: RequestContext, error: Exception) -> CachedResponse:
        answer = answer_to(error)
        if answer is SERVER_ERROR:
            _log.error("request failed", request_id=context.request_id.decode(), exc_info=error)
        return answer

    def _request_id(self, request: web.BaseRequest) -> bytes:
        given = request.headers.get("X-Request-Id")
        return given.encode() if given is not None and _REQUEST_ID.fullmatch(given) else self._ids.next()


def _unasked(context: RequestContext) -> CachedResponse | None:
    """What anybody is told, whatever the token."""
    request = context.request
    if context.route.kind == "nothing":
        return RESOURCE_NOT_FOUND
    if request.method not in ("GET", "HEAD"):
        return OPTIONS if request.method == "OPTIONS" else METHOD_NOT_ALLOWED
    if request.can_read_body and (request.content_length or _MAX_BODY_BYTES + 1) > _MAX_BODY_BYTES:
        return BODY_TOO_LARGE
    return None


def _log_access(context: RequestContext, reply: web.StreamResponse, client: str, seconds: float) -> None:
    request = context.request
    _log.info(
        "request",
        method=request.method,
        route=context.route.kind,
        group_id=context.route.group_id,
        customer_id=context.grant.customer_id if context.grant else None,
        status=reply.status,
        milliseconds=round(seconds * 1000, 3),
        remote=client,
        request_id=context.request_id.decode(),
    )
