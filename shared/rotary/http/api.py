"""An API: one handler from a request to its answer, in the order in which a reader may learn things.

Path, method, token, limit, scope, group: a stranger learns nothing but that a token is wanted, and another customer's
group answers as one that does not exist. What memory can answer is answered without waiting for anything.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Generic

import structlog
from aiohttp import hdrs, web
from msgspec import Struct

from rotary.auth.grant import Grant, has_checksum
from rotary.auth.rate_limit import RateLimits, TokenWindow
from rotary.auth.tokens import Tokens
from rotary.clock import Clock
from rotary.http.client_address import TrustedProxies
from rotary.http.cors import Cors
from rotary.http.endpoints import Endpoint, K, Route, Routes
from rotary.http.errors import (
    BODY_TOO_LARGE,
    GROUP_NOT_FOUND,
    RESOURCE_NOT_FOUND,
    SERVER_ERROR,
    UNAUTHENTICATED,
    UNAUTHORIZED,
    Refusal,
    answer_to,
    too_many_requests,
)
from rotary.http.negotiation import has_current
from rotary.http.protocol import RequestIds, bearer_hash
from rotary.http.responses import NO_FACTS, CachedResponse, DateLine, RawResponse, failure, rate_limit_lines
from rotary.http.static_files import Static

MAX_BODY_BYTES = 65_536
_ASK_REDIS = failure(503, "Redis was not asked.")
"""Never sent: only Redis can tell whether the token is over its limit."""


class RequestContext(Generic[K]):
    """One request on its way to an answer: when it came, what it asks for, whose it is, and the lines of its own."""

    __slots__ = ("age_ms", "grant", "lines", "now_ms", "request", "request_id", "route")

    def __init__(self, request: web.BaseRequest, route: Route[K], now_ms: int, request_id: bytes) -> None:
        self.request = request
        self.route = route
        self.now_ms = now_ms
        self.request_id = request_id
        self.lines = [b"X-Request-Id: ", request_id, b"\r\n"]
        self.grant: Grant | None = None
        self.age_ms = NO_FACTS


class Access(Struct, frozen=True):
    """Who may ask: the tokens, their limits, the scope that requests need, and who may be a client's proxy."""

    tokens: Tokens
    rate_limits: RateLimits
    scope: str
    proxies: TrustedProxies
    cors: Cors


class _Methods(Struct, frozen=True):
    """What an endpoint says of methods; `named` is the text of its Allow header."""

    named: str
    allowed: frozenset[str]
    options: CachedResponse
    refusal: CachedResponse
    needs_group: bool


class Api(ABC, Generic[K]):
    """Handles every request of a service's public port. A subclass answers those that are admitted."""

    max_body_bytes = MAX_BODY_BYTES
    reads_bodies = False
    """Whether `answer` reads bodies, and limits those whose length is not told."""

    def __init__(
        self,
        program: str,
        endpoints: Sequence[Endpoint[K]],
        routes: Routes[K],
        pages: Mapping[str, Static],
        access: Access,
        clock: Clock,
        *,
        access_log: bool = False,
    ) -> None:
        """`pages` are the answers that need no token, by the kinds of their paths. `program` names the log's lines."""
        self._access = access
        self._methods = {
            one.kind: _Methods(one.allowed, one.methods, *one.refusals(), one.needs_group) for one in endpoints
        }
        self._routes = routes
        self._pages = pages
        self._clock = clock
        self._access_log = access_log
        self._ids = RequestIds()
        self._date = DateLine()
        self._log = structlog.get_logger(program)
        self.answered: Counter[tuple[K, int]] = Counter()
        """Answers given so far, by what was asked for and status."""

    @abstractmethod
    async def answer(self, context: RequestContext[K], grant: Grant) -> CachedResponse:
        """The answer to a request that is admitted. Raises UnavailableError, TooManyAttemptsError and Refusal."""

    def cached(self, context: RequestContext[K], grant: Grant) -> CachedResponse | None:  # noqa: ARG002  # a hook
        """Likewise, if it takes no waiting."""
        return None

    def scope(self, context: RequestContext[K]) -> str:  # noqa: ARG002  # a hook
        """The scope that a request needs."""
        return self._access.scope

    def opens(self, context: RequestContext[K], grant: Grant) -> bool:
        """Whether the token's scopes allow a request."""
        return self.scope(context) in grant.scopes

    def window(self, context: RequestContext[K], grant: Grant) -> TokenWindow | None:  # noqa: ARG002  # a hook
        """The rate limit that a request counts against; None if there is none."""
        return grant.window

    def has_substitute(self, context: RequestContext[K]) -> bool:  # noqa: ARG002  # a hook
        """Whether a request without an Authorization header has something in its place, which `redeem` can redeem."""
        return False

    async def redeem(self, context: RequestContext[K]) -> str | None:  # noqa: ARG002  # a hook
        """The hash of the token for which that stands, or None. Raises UnavailableError."""
        return None

    def failure(self, error: Exception) -> CachedResponse:
        """The response to an error. SERVER_ERROR stands for a defect."""
        return error.answer if isinstance(error, Refusal) else answer_to(error)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers one request; whatever goes wrong, in JSON."""
        began = perf_counter() if self._access_log else 0.0
        route = self._routes.find(request.raw_path)
        context = RequestContext(request, route, self._clock(), self._ids.of(request))
        try:
            answer = self._known(context)
            if answer is None:
                grant = context.grant
                answer = await (self._read(context) if grant is None else self.answer(context, grant))
            reply = self.reply(context, answer)
        except Exception as error:  # noqa: BLE001  # it becomes an answer, and a log entry if it is a defect
            reply = self.reply(context, self._failure(context, error))
        self.answered[route.kind, reply.status] += 1
        if self._access_log:
            self._log_access(context, reply, self._access.proxies.client(request), perf_counter() - began)
        return reply

    def reply(self, context: RequestContext[K], answer: CachedResponse) -> web.StreamResponse:
        """The answer with the lines of this request."""
        request = context.request
        context.lines.append(self.common_lines(context))
        unmodified = has_current(request, answer.etag)
        return RawResponse(answer, request, context.lines, unmodified=unmodified, close=answer is BODY_TOO_LARGE)

    def common_lines(self, context: RequestContext[K]) -> bytes:
        """The header lines that every answer to this request has."""
        return self._date.at(context.now_ms) + self._access.cors.lines(context.request)

    def _known(self, context: RequestContext[K]) -> CachedResponse | None:
        """The answer, if that takes neither a read nor a verification."""
        answer = self._unasked(context)
        if answer is not None:
            return answer
        if (page := self._pages.get(context.route.kind)) is not None:
            return page.answer(context.request, context.route.name)
        sha256_hex = bearer_hash(context.request)
        if sha256_hex is None:
            return None if self._is_redeemable(context) else UNAUTHENTICATED
        grant = self._access.tokens.known(sha256_hex)
        if grant is None:
            return None
        if (refusal := self._admit(context, grant)) is not None:
            return None if refusal is _ASK_REDIS else refusal
        return self.cached(context, grant)

    async def _read(self, context: RequestContext[K]) -> CachedResponse:
        """The answer, after verifying the token in Redis. Raises UnavailableError, TooManyAttemptsError and Refusal."""
        sha256_hex = bearer_hash(context.request) or await self.redeem(context)
        grant = None if sha256_hex is None else await self._grant(context, sha256_hex)
        refusal = UNAUTHENTICATED if grant is None else self._admit(context, grant)
        if grant is None or refusal is not None:
            return refusal or UNAUTHENTICATED
        return await self.answer(context, grant)

    def _admit(self, context: RequestContext[K], grant: Grant) -> CachedResponse | None:
        """Counts the request against its token's limit; the answer that refuses it, if it is refused.

        _ASK_REDIS where the window is dry: nothing was counted.
        """
        now_ms = context.now_ms
        if grant.expires_ms <= now_ms:
            return UNAUTHENTICATED
        if (window := self.window(context, grant)) is not None:
            allowed = window.hit(now_ms)
            if not allowed and window.is_dry(now_ms):
                return _ASK_REDIS
            context.grant = grant
            context.lines.append(rate_limit_lines(window.status(now_ms)))
            if not allowed:
                return too_many_requests(window.retry_after(now_ms))
        context.grant = grant
        if not self.opens(context, grant):
            return UNAUTHORIZED
        route = context.route
        return GROUP_NOT_FOUND if not route.group_id and self._methods[route.kind].needs_group else None

    async def _grant(self, context: RequestContext[K], sha256_hex: str) -> Grant | None:
        """What the token grants, with its window filled so that the request can be counted."""
        request, access = context.request, self._access
        authorization = request.headers.get(hdrs.AUTHORIZATION)
        is_checked = authorization is None or has_checksum(authorization)  # what was redeemed is not guessed
        grant = await access.tokens.find_for(sha256_hex, access.proxies.client(request), is_checked=is_checked)
        context.now_ms = self._clock()
        window = None if grant is None else self.window(context, grant)
        if grant is not None and window is not None and context.now_ms < grant.expires_ms:
            while window.is_dry(context.now_ms):
                await access.rate_limits.fill(window)
                context.now_ms = self._clock()
        return grant

    def _unasked(self, context: RequestContext[K]) -> CachedResponse | None:
        """What anybody is told, whatever the token."""
        request, methods = context.request, self._methods.get(context.route.kind)
        if methods is None:
            return RESOURCE_NOT_FOUND
        if request.method not in methods.allowed:
            if request.method != "OPTIONS":
                return methods.refusal
            context.lines.append(self._access.cors.preflight(request, methods.named))
            return methods.options
        if request.can_read_body:
            length = request.content_length
            if length > self.max_body_bytes if length is not None else not self.reads_bodies:
                return BODY_TOO_LARGE
        return None

    def _is_redeemable(self, context: RequestContext[K]) -> bool:
        return hdrs.AUTHORIZATION not in context.request.headers and self.has_substitute(context)

    def _failure(self, context: RequestContext[K], error: Exception) -> CachedResponse:
        answer = self.failure(error)
        if answer is SERVER_ERROR:
            self._log.error("request failed", request_id=context.request_id.decode(), exc_info=error)
        return answer

    def _log_access(self, context: RequestContext[K], reply: web.StreamResponse, client: str, seconds: float) -> None:
        request = context.request
        self._log.info(
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
