"""The API: from a request to what the table of operations says of it."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache, partial
from hashlib import blake2b, sha256

import msgspec
from aiohttp import web

from rotary.auth.grant import Grant
from rotary.auth.lru import LruCache
from rotary.auth.rate_limit import TokenWindow
from rotary.clock import Clock
from rotary.definitions import SCOPE
from rotary.http import api
from rotary.http.api import Access
from rotary.http.bodies import Envelope
from rotary.http.endpoints import group_id
from rotary.http.errors import SERVER_ERROR, TOO_MANY_STREAMS
from rotary.http.negotiation import wants_stream
from rotary.http.responses import JSON, REVALIDATE, CachedResponse, ResponseTemplate, failure
from rotary.http.static_files import Static
from rotary.management.idempotency import StoredAnswer, claim, keep
from rotary.postgres.connection import ContendedError
from rotary_campaigns.http.errors import answer_to
from rotary_campaigns.http.operations import MAX_BODY_BYTES, Call, Operation, Reply, Resource
from rotary_campaigns.http.requests import read_if_match, read_key, read_query, read_request
from rotary_campaigns.http.resources import ENDPOINTS, RESOURCES, routes
from rotary_campaigns.http.streams import StreamAnswer, StreamResponse
from rotary_campaigns.parts import Parts

CAMPAIGN_REQUESTS_PER_MINUTE = 120
"""Of one token; a token with a lower limit keeps that one, and one without a limit has none here."""
MAX_WINDOWS = 100_000
MAX_DEADLOCKS = 3
"""How often a change is made anew that was rolled back because it and another one waited for each other."""
_SHOWN_ONCE = "The secret was shown when this idempotency key was first used, and can't be shown again."

RequestContext = api.RequestContext[str]
_encode = msgspec.json.Encoder().encode


class Api(api.Api[str]):
    """Handles every request of the public port. `pages` are the answers that need no token."""

    reads_bodies = True
    max_body_bytes = max(one.max_body_bytes for resource in RESOURCES.values() for one in resource.operations)

    def __init__(
        self,
        parts: Parts,
        pages: Mapping[str, Static],
        access: Access,
        clock: Clock,
        *,
        access_log: bool = False,
    ) -> None:
        super().__init__("rotary_campaigns", ENDPOINTS, routes(), pages, access, clock, access_log=access_log)
        self._parts = parts
        self._windows: LruCache[TokenWindow] = LruCache(MAX_WINDOWS)

    def scope(self, context: RequestContext) -> str:
        """The scope of the path."""
        return RESOURCES[context.route.kind].scope

    def window(self, context: RequestContext, grant: Grant) -> TokenWindow | None:
        """Campaigns have a limit of their own beside the token's."""
        if grant.window is None or self.scope(context) != SCOPE:
            return grant.window
        limit = min(CAMPAIGN_REQUESTS_PER_MINUTE, grant.window.limit)
        window = self._windows.get(grant.sha256_hex)
        if window is None:
            window = self._access.rate_limits.window(_apart(grant.sha256_hex), limit)
            self._windows.put(grant.sha256_hex, window)
        window.resize(limit)
        return window

    async def answer(self, context: RequestContext, grant: Grant) -> CachedResponse:
        """What the operation says, or why it refuses."""
        resource = RESOURCES[context.route.kind]
        try:
            with self._upload(context.request, grant):
                return await self._perform(context, grant, resource)
        except Exception as error:
            answer = answer_to(error, resource.missing)
            if answer is SERVER_ERROR:
                raise
            return answer

    def reply(self, context: RequestContext, answer: CachedResponse) -> web.StreamResponse:
        """The answer with the lines of this request."""
        if not isinstance(answer, StreamAnswer):
            return super().reply(context, answer)
        context.lines.append(self.common_lines(context))
        return StreamResponse(answer, context.lines)

    def _upload(self, request: web.BaseRequest, grant: Grant) -> AbstractContextManager[None]:
        """Counts a request whose body may be a large one."""
        length = request.content_length
        is_large = request.can_read_body and (length is None or length > MAX_BODY_BYTES)
        return self._parts.uploads.taken(grant.customer_id) if is_large else nullcontext()

    async def _perform(self, context: RequestContext, grant: Grant, resource: Resource) -> CachedResponse:
        request = context.request
        operation = resource.operation(request.method)
        row_id = group_id(context.route.name)
        if not row_id and "{" in resource.pattern:
            return failure(404, resource.missing)
        if_match = read_if_match(request, operation)
        query = None if operation.query is None else read_query(request, operation.query)
        content, body = await read_request(request, operation)
        call = partial(
            Call,
            grant,
            parts=self._parts,
            row_id=row_id,
            body=body,
            query=query,
            if_match=if_match,
            now_ms=context.now_ms,
        )
        if operation.is_change:
            return await self._change(request, grant, operation, content, call)
        async with self._parts.database.reading() as connection:
            reply = await operation.handler(call(connection=connection))
            if operation.stream is not None and wants_stream(request):
                return self._stream(operation, call(connection=connection))
        return _answer(operation, reply)

    async def _change(
        self, request: web.BaseRequest, grant: Grant, operation: Operation, content: bytes, call: "partial[Call]"
    ) -> CachedResponse:
        """Makes a change; again, if PostgreSQL chose it as the one to end of two that waited for each other."""
        for _ in range(MAX_DEADLOCKS):
            try:
                return await self._change_once(request, grant, operation, content, call)
            except ContendedError as error:
                if not error.is_deadlock:
                    raise
        return await self._change_once(request, grant, operation, content, call)

    async def _change_once(
        self, request: web.BaseRequest, grant: Grant, operation: Operation, content: bytes, call: "partial[Call]"
    ) -> CachedResponse:
        key = read_key(request) if operation.is_idempotent else None
        customer = grant.customer_id
        async with self._parts.database.changing(grant.sha256_hex) as connection:
            if key is not None:
                stored = await claim(connection, customer, key, _fingerprint(request, content))
                if stored is not None:
                    return _repeated(operation, stored)
            reply = await operation.handler(call(connection=connection))
            answer = _answer(operation, reply)
            if key is not None:
                secret = b"" if operation.shows_secret else answer.body
                kept = StoredAnswer(operation.status, secret, _etag(reply, answer.body), reply.location)
                await keep(connection, customer, key, kept)
        if reply.then is not None and (data := await reply.then()) is not None:
            return _answer(operation, Reply(data))
        return answer

    def _stream(self, operation: Operation, call: Call) -> CachedResponse:
        """Events. The handler has found what they are about, so that they begin with something."""
        assert operation.stream is not None
        if self._parts.streams.is_full:
            return TOO_MANY_STREAMS
        return StreamAnswer(partial(operation.stream, call), self._parts.streams)


@lru_cache(maxsize=MAX_WINDOWS)
def _apart(sha256_hex: str) -> str:
    """The name of the window that a token has for campaigns alone."""
    return sha256(b"campaigns:" + sha256_hex.encode()).hexdigest()


def _fingerprint(request: web.BaseRequest, content: bytes) -> bytes:
    return sha256(f"{request.method} {request.raw_path}\n".encode() + content).digest()


def _answer(operation: Operation, reply: Reply) -> CachedResponse:
    if operation.answer is None:
        return CachedResponse(_template(operation.status, "", ""), None)
    body = _encode(reply.data if operation.is_page else Envelope(reply.data))
    return _with_body(operation, operation.status, body, _etag(reply, body), reply.location)


def _repeated(operation: Operation, stored: StoredAnswer) -> CachedResponse:
    if operation.shows_secret:
        return failure(409, _SHOWN_ONCE)
    return _with_body(operation, stored.status, stored.body, stored.etag, stored.location)


def _with_body(operation: Operation, status: int, body: bytes, etag: str, location: str) -> CachedResponse:
    if operation.method == "GET":
        # Its ETag is a hash of the bytes, too: what did not change need not be sent again.
        return CachedResponse(_template(status, "", location), body, etag)
    return CachedResponse(_template(status, etag, location), body)


def _etag(reply: Reply, body: bytes) -> str:
    """The version, by which If-Match decides, and a hash of the bytes: a body may show what the row does not hold."""
    if isinstance(reply.version, str):
        return f'"{reply.version}"'
    digest = blake2b(body, digest_size=8).hexdigest()
    return f'"{digest}"' if reply.version is None else f'"{reply.version}-{digest}"'


def _template(status: int, etag: str, location: str) -> ResponseTemplate:
    named = {"Content-Type": JSON} if status != 204 else {}
    tagged = {"ETag": etag} if etag else {}
    located = {"Location": location} if location else {}
    caching = REVALIDATE if status == 200 and not etag else "no-store"
    return ResponseTemplate(status, {**named, "Cache-Control": caching, **tagged, **located})
