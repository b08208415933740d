"""The console: from a request to its answer, in the order in which a stranger may learn things.

Path, method, origin, session, customer, role: whoever is not signed in learns nothing but that, and a customer for
which a user has no role answers as one that does not exist.
"""

from collections import Counter
from time import perf_counter

import structlog
from aiohttp import hdrs, web

from rotary.auth.addresses import client_network
from rotary.clock import Clock
from rotary.http import endpoints as paths
from rotary.http.client_address import TrustedProxies
from rotary.http.endpoints import Route, Routes
from rotary.http.errors import BODY_TOO_LARGE, RESOURCE_NOT_FOUND, SERVER_ERROR, method_not_allowed, options
from rotary.http.json_bodies import decode_body
from rotary.http.negotiation import has_current
from rotary.http.protocol import RequestIds
from rotary.http.request_bodies import read_body
from rotary.http.responses import CachedResponse, DateLine, RawResponse, header_lines
from rotary_console.http.operations import Answer, Call, Endpoint, Operation
from rotary_console.http.origin import refusal
from rotary_console.http.refusals import CLIENT_GONE, NO_CUSTOMER, NOT_SIGNED_IN, ROLE_TOO_LOW, answer_to
from rotary_console.http.security import file_headers, security_headers
from rotary_console.parts import Parts
from rotary_console.routes import campaigns, customers, dialers, pages, session
from rotary_console.sign_in.sessions import allows

ENDPOINTS: dict[str, Endpoint] = {
    endpoint.pattern: endpoint
    for module in (session, customers, dialers, campaigns, pages)
    for endpoint in module.ENDPOINTS
} | {pages.ASSET.pattern: pages.ASSET}
"""Every path, by its pattern."""
NOTHING = Route("nothing")


class Console:
    """Handles every request of the public port."""

    def __init__(self, parts: Parts, proxies: TrustedProxies, clock: Clock) -> None:
        self._parts = parts
        self._proxies = proxies
        self._clock = clock
        listed = [paths.Endpoint(one.pattern, one.pattern, one.allowed) for one in ENDPOINTS.values()]
        self._routes: Routes[str] = Routes(listed, NOTHING)
        self._options = {one.pattern: options(one.allowed) for one in ENDPOINTS.values()}
        self._not_allowed = {one.pattern: method_not_allowed(one.allowed) for one in ENDPOINTS.values()}
        self._headers = security_headers(parts.settings)
        self._security = header_lines(self._headers)
        self._file_security = header_lines(file_headers(self._headers))
        self._ids = RequestIds()
        self._date = DateLine()
        self._log = structlog.get_logger("rotary_console")
        self.answered: Counter[tuple[str, int]] = Counter()
        """Answers given so far, by pattern and status."""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers one request; whatever goes wrong, in JSON."""
        began = perf_counter()
        route = self._route(request)
        call = self._call(request, route)
        try:
            answer = await self._answer(call, route)
        except Exception as error:  # noqa: BLE001  # it becomes an answer, and a log entry if it is a defect
            answer = self._failure(call, error)
        reply = self._reply(call, answer) if isinstance(answer, CachedResponse) else answer
        self.answered[route.kind, reply.status] += 1
        if self._parts.settings.access_log:
            self._log_access(call, route, reply.status, perf_counter() - began)
        return reply

    def _route(self, request: web.BaseRequest) -> Route[str]:
        if request.raw_path.startswith(f"{pages.ASSETS}/"):
            return Route(pages.ASSET.pattern)
        return self._routes.find(request.raw_path)

    def _call(self, request: web.BaseRequest, route: Route[str]) -> Call:
        now_ms = self._clock()
        request_id = self._ids.of(request)
        headers = {"X-Request-Id": request_id.decode(), "Server": "rotary", "X-Content-Type-Options": "nosniff"}
        network = client_network(self._proxies.client(request))
        return Call(request, request_id, self._parts, now_ms, network, [], self._headers | headers, route.kind)

    async def _answer(self, call: Call, route: Route[str]) -> Answer:
        endpoint = ENDPOINTS.get(route.kind)
        if endpoint is None:
            return RESOURCE_NOT_FOUND
        method = call.request.method
        if method not in endpoint.allowed.split(", ") or method == hdrs.METH_OPTIONS:
            return self._options[route.kind] if method == hdrs.METH_OPTIONS else self._not_allowed[route.kind]
        operation = endpoint.operation(method)
        refused = refusal(call.request, self._parts.settings.origin) or _check_length(call.request, operation)
        if refused is not None:
            return refused
        if operation.who != "anybody":
            refused = await self._admit(call, route, operation)
            if refused is not None:
                return refused
        if operation.body is not None:
            call.body = decode_body(await read_body(call.request, operation.max_body_bytes), operation.body)
        return await operation.handler(call)

    async def _admit(self, call: Call, route: Route[str], operation: Operation) -> CachedResponse | None:
        """Finds out who asks; the answer that refuses it, if it is refused."""
        cookies = self._parts.cookies
        found = await self._parts.sessions.find(cookies.read(call.request, "session"))
        if found is None:
            return NOT_SIGNED_IN
        call.session = found
        if found.cookie:
            call.cookies.append(cookies.set("session", found.cookie))
        if operation.who == "user":
            return None
        call.customer_id, call.name = route.group_id, route.name
        role = found.role(route.group_id)
        if role is None:
            return NO_CUSTOMER
        return None if allows(role, operation.role) else ROLE_TOO_LOW

    def _reply(self, call: Call, answer: CachedResponse) -> web.StreamResponse:
        lines = [
            b"X-Request-Id: %b\r\n" % call.request_id,
            self._date.at(call.now_ms),
            self._file_security if pages.is_inert(call.request.raw_path) else self._security,
            *(f"Set-Cookie: {cookie}\r\n".encode("latin-1") for cookie in call.cookies),
        ]
        unmodified = has_current(call.request, answer.etag)
        close = answer is BODY_TOO_LARGE
        return RawResponse(answer, call.request, lines, unmodified=unmodified, close=close)

    def _failure(self, call: Call, error: Exception) -> CachedResponse:
        answer = answer_to(error)
        if isinstance(error, ConnectionError) and _is_gone(call.request):
            return CLIENT_GONE
        if answer is SERVER_ERROR:
            self._log.error("request failed", request_id=call.request_id.decode(), exc_info=error)
        return answer

    def _log_access(self, call: Call, route: Route[str], status: int, seconds: float) -> None:
        self._log.info(
            "request",
            method=call.request.method,
            route=route.kind,
            customer_id=call.customer_id or None,
            user=call.session.name if call.session else None,
            status=status,
            milliseconds=round(seconds * 1000, 3),
            remote=call.network,
            request_id=call.request_id.decode(),
        )


def _is_gone(request: web.BaseRequest) -> bool:
    """Whether the connection is closed: by the client, or because what was sent can't be completed."""
    return request.transport is None or request.transport.is_closing()


def _check_length(request: web.BaseRequest, operation: Operation) -> CachedResponse | None:
    """The answer to a body that is too large. A small one that nobody needs is left where it is."""
    if not request.can_read_body:
        return None
    length = request.content_length
    if length is None:
        return None if operation.body is not None or operation.passes_body else BODY_TOO_LARGE
    return BODY_TOO_LARGE if length > operation.max_body_bytes else None
