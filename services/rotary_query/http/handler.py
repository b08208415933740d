"""The query service's API: from the cache when it has the answer, else from Redis; a monitor also as a stream."""

from collections.abc import Mapping

from aiohttp import web

from rotary.auth.grant import Grant
from rotary.clock import Clock
from rotary.definitions import READ_SCOPE, SCOPE
from rotary.http import api
from rotary.http.api import Access
from rotary.http.client_address import TrustedProxies
from rotary.http.cors import Cors
from rotary.http.errors import TOO_MANY_STREAMS
from rotary.http.protocol import stream_begins
from rotary.http.responses import NO_FACTS, CachedResponse, RawResponse, lag_line
from rotary.http.static_files import Static
from rotary_query.cache.group_reader import GroupReader
from rotary_query.history import HistoryReader
from rotary_query.http.endpoints import ENDPOINTS, Kind, routes
from rotary_query.http.history import history_answer, read_request
from rotary_query.http.sse import StreamResponse
from rotary_query.http.sse_events import behind
from rotary_query.http.sse_requests import StreamKind, stream_asked
from rotary_query.http.tickets import ticket_in

RequestContext = api.RequestContext[Kind]


class Api(api.Api[Kind]):
    """Handles every request of the public port. `pages` are the answers that need no token."""

    def __init__(
        self,
        reader: GroupReader,
        history: HistoryReader,
        pages: Mapping[str, Static],
        cors: Cors,
        proxies: TrustedProxies,
        clock: Clock,
        *,
        access_log: bool = False,
    ) -> None:
        access = Access(reader.tokens, reader.rate_limits, SCOPE, proxies, cors)
        super().__init__("rotary_query", ENDPOINTS, routes(), pages, access, clock, access_log=access_log)
        self._reader = reader
        self._history = history

    def opens(self, context: RequestContext, grant: Grant) -> bool:  # noqa: ARG002  # every request needs the same
        """Whether the token may read."""
        return SCOPE in grant.scopes or READ_SCOPE in grant.scopes

    def cached(self, context: RequestContext, grant: Grant) -> CachedResponse | None:
        """The answer from memory, which has no history."""
        if context.route.kind == "history":
            return None
        reading = self._reader.cached(context.route, grant.customer_id, context.now_ms)
        if reading is None:
            return None
        answer, context.age_ms = reading
        return answer

    def has_substitute(self, context: RequestContext) -> bool:
        """Whether the request is for a stream, and has a ticket."""
        if context.route.kind != "monitor" or ticket_in(context.request) is None:
            return False
        return stream_asked(context.request) is not None

    async def redeem(self, context: RequestContext) -> str | None:
        """The hash of the token for which its ticket stands. Raises UnavailableError."""
        ticket = ticket_in(context.request)
        return None if ticket is None else await self._reader.tickets.redeem(ticket)

    async def answer(self, context: RequestContext, grant: Grant) -> CachedResponse:
        """The answer. Raises UnavailableError, GroupNotFoundError and Refusal."""
        if context.route.kind == "history":
            return await self._answer_history(context, grant.customer_id)
        if context.route.kind == "tickets":
            return await self._reader.tickets.issue(grant)
        answer, context.age_ms = await self._reader.answer(context.route, grant.customer_id, context.now_ms)
        return answer

    async def _answer_history(self, context: RequestContext, customer: int) -> CachedResponse:
        group = await self._reader.definition(customer, context.route.group_id)
        asked = read_request(context.request.query, group, context.now_ms)
        callers = [member.id for member in asked.members]
        return history_answer(group, asked, await self._history.read(customer, callers, asked.first, asked.last))

    def reply(self, context: RequestContext, answer: CachedResponse) -> web.StreamResponse:
        """The answer with the age of its facts, or a stream of such."""
        if context.age_ms != NO_FACTS:
            context.lines.append(lag_line(context.age_ms // 1000))
            if context.grant is not None and (kind := stream_asked(context.request)) is not None:
                return self._stream(context, kind, context.grant, answer)
        return super().reply(context, answer)

    def _stream(
        self, context: RequestContext, kind: StreamKind, grant: Grant, first: CachedResponse
    ) -> web.StreamResponse:
        request, lines = context.request, context.lines
        lines.append(self.common_lines(context))
        streams = self._reader.streams
        refusal = TOO_MANY_STREAMS if streams.is_full else streams.limits.refusal(grant)
        if refusal is not None:
            return RawResponse(refusal, request, lines)
        stream_begins(request)
        staleness = behind(context.age_ms, self._reader.redis_now_ms())
        return StreamResponse(streams, kind, grant, context.route.group_id, first, staleness, lines)
