"""Passing requests on to rotary-campaigns, in the user's name, as they come and as they are answered."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import aiohttp
from aiohttp import hdrs, web
from msgspec import Struct
from yarl import URL

from rotary.http.errors import BODY_TOO_LARGE, BODY_TOO_SLOW, Refusal
from rotary.http.protocol import stream_begins
from rotary.http.request_bodies import read_body, send_continue
from rotary.http.responses import CachedResponse
from rotary_console.http.refusals import CAMPAIGNS_AWAY, CAMPAIGNS_BROKEN, CAMPAIGNS_SLOW, TOO_MANY_AT_ONCE

MAX_CONNECTIONS = 200
MAX_AT_ONCE = 24
"""Requests of one user under way; a page has a few, and some tabs."""
SMALL_BODY_BYTES = 65_536
"""A body up to this is read before it is passed on, so that it can be sent again."""
CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 30.0
"""How long to wait for an answer, and for each further piece of it: streams are never silent for so long."""
BODY_SECONDS = 150.0
PIECE_SECONDS = 20.0
"""How long a client may take for a piece of its body, and for reading a piece of the answer."""
_ASKED = ("Accept", "Content-Type", "If-Match", "If-None-Match", "Idempotency-Key", "Last-Event-ID")
_ANSWERED = (
    "Cache-Control",
    "Content-Length",
    "Content-Type",
    "ETag",
    "Retry-After",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
)
_EVENTS = "text/event-stream"
Outcome = Literal["answered", "away", "broken", "slow"]


class Forwarded(Struct, frozen=True):
    """A request to pass on. `path` is rotary-campaigns', and `below` where the same begins for the browser."""

    request: web.BaseRequest
    request_id: bytes
    user_id: int
    path: str
    below: str
    max_body_bytes: int
    headers: Mapping[str, str]
    """Of the answer, beside those of rotary-campaigns."""
    cookies: list[str]


class _Body:
    """The body of a request as it arrives. `refusal` is set if it is too large or too slow."""

    def __init__(self, request: web.BaseRequest, limit: int) -> None:
        self._request = request
        self._limit = limit
        self.refusal: CachedResponse | None = None

    async def pieces(self) -> AsyncIterator[bytes]:
        length = 0
        send_continue(self._request)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while piece := await self._piece():
                    length += len(piece)
                    if length > self._limit:
                        raise self._refused(BODY_TOO_LARGE)
                    yield piece
        except TimeoutError:
            raise self._refused(BODY_TOO_SLOW) from None

    async def _piece(self) -> bytes:
        async with asyncio.timeout(PIECE_SECONDS):
            return await self._request.content.readany()

    def _refused(self, answer: CachedResponse) -> Refusal:
        self.refusal = answer
        return Refusal(answer)


class Upstream:
    """A client of rotary-campaigns. Raises Refusal for what it can't pass on."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = URL(url).origin()
        self._under_way: Counter[int] = Counter()
        self.outcomes: Counter[Outcome] = Counter()

    async def forward(self, asked: Forwarded, bearer: str) -> web.StreamResponse | None:
        """Sends the request, and its answer to the client. None if rotary-campaigns does not accept the bearer.

        Then a body that was not kept is gone: Refusal.
        """
        with self._counted(asked.user_id):
            content = await self._content(asked)
            try:
                return await self._exchange(asked, bearer, content)
            except TimeoutError as error:  # aiohttp's are of this type, too
                is_away = isinstance(error, aiohttp.ConnectionTimeoutError)
                self.outcomes["away" if is_away else "slow"] += 1
                refused = CAMPAIGNS_AWAY if is_away else CAMPAIGNS_SLOW
            except aiohttp.ClientConnectorError:
                self.outcomes["away"] += 1
                refused = CAMPAIGNS_AWAY
            except aiohttp.ClientError:
                self.outcomes["broken"] += 1
                refused = CAMPAIGNS_BROKEN
            if isinstance(content, _Body) and content.refusal is not None:
                refused = content.refusal
            raise Refusal(refused)

    async def _content(self, asked: Forwarded) -> "bytes | _Body | None":
        request = asked.request
        if not request.can_read_body:
            return None
        length = request.content_length
        if length is not None and length > asked.max_body_bytes:
            raise Refusal(BODY_TOO_LARGE)
        if asked.max_body_bytes <= SMALL_BODY_BYTES or (length is not None and length <= SMALL_BODY_BYTES):
            return await read_body(request, asked.max_body_bytes)
        return _Body(request, asked.max_body_bytes)

    async def _exchange(
        self, asked: Forwarded, bearer: str, content: "bytes | _Body | None"
    ) -> web.StreamResponse | None:
        request = asked.request
        headers = {name: request.headers[name] for name in _ASKED if name in request.headers}
        headers |= {hdrs.AUTHORIZATION: f"Bearer {bearer}", "X-Request-Id": asked.request_id.decode()}
        headers[hdrs.ACCEPT_ENCODING] = "identity"
        if isinstance(content, _Body) and request.content_length is not None:
            headers[hdrs.CONTENT_LENGTH] = str(request.content_length)
        query = request.raw_path.partition("?")[2].partition("#")[0]
        url = URL(f"{self._url}{asked.path}{'?' if query else ''}{query}", encoded=True)
        data = content.pieces() if isinstance(content, _Body) else content
        async with self._session.request(
            request.method, url, headers=headers, data=data, allow_redirects=False
        ) as answer:
            if answer.status == 401:
                self._check_repeatable(content)
                return None
            self.outcomes["answered"] += 1
            return await _Relay(asked, answer).send()

    def _check_repeatable(self, content: "bytes | _Body | None") -> None:
        if isinstance(content, _Body):
            raise Refusal(CAMPAIGNS_AWAY)

    @contextmanager
    def _counted(self, user_id: int) -> Iterator[None]:
        under_way = self._under_way
        if under_way[user_id] >= MAX_AT_ONCE:
            raise Refusal(TOO_MANY_AT_ONCE)
        under_way[user_id] += 1
        try:
            yield
        finally:
            under_way[user_id] -= 1
            if not under_way[user_id]:
                del under_way[user_id]


class _Relay:
    """One answer on its way to the client."""

    def __init__(self, asked: Forwarded, answer: aiohttp.ClientResponse) -> None:
        self._asked = asked
        self._answer = answer

    async def send(self) -> web.StreamResponse:
        """Sends all of it. Raises ConnectionResetError if it can't be completed: the client then sees that, too."""
        response = self._head()
        request, transport = self._asked.request, self._asked.request.transport
        await response.prepare(request)
        try:
            async for piece in self._answer.content.iter_any():
                async with asyncio.timeout(PIECE_SECONDS):
                    await response.write(piece)
            await response.write_eof()
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            # The head is sent: only the connection's end can tell that the rest does not come.
            if transport is not None:
                transport.abort()
            raise ConnectionResetError from error
        return response

    def _head(self) -> web.StreamResponse:
        answer = self._answer
        headers = {name: answer.headers[name] for name in _ANSWERED if name in answer.headers}
        if location := self._location():
            headers[hdrs.LOCATION] = location
        response = web.StreamResponse(status=answer.status, headers={**self._asked.headers, **headers})
        for cookie in self._asked.cookies:
            response.headers.add(hdrs.SET_COOKIE, cookie)
        if answer.content_type == _EVENTS:
            stream_begins(self._asked.request)
            response.headers["X-Accel-Buffering"] = "no"
        return response

    def _location(self) -> str:
        """Where the created thing is for the browser. Others' addresses are not passed on."""
        told = self._answer.headers.get(hdrs.LOCATION, "")
        return f"{self._asked.below}{told.removeprefix('/api')}" if told.startswith("/api/") else ""
