"""Server-sent events: how a response that goes on is sent."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from rotary.http.protocol import stream_begins
from rotary.http.responses import CachedResponse, ResponseTemplate

MAX_STREAMS = 200
_HEAD = CachedResponse(
    ResponseTemplate(
        200,
        {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    ),
    None,
)
Events = Callable[[], AsyncIterator[bytes]]


class StreamLimit:
    """How many streams are open, of how many that may be."""

    def __init__(self) -> None:
        self.count = 0

    @property
    def is_full(self) -> bool:
        """Whether no more may be opened."""
        return self.count >= MAX_STREAMS


class StreamAnswer(CachedResponse):
    """An answer whose body is events, as they come."""

    __slots__ = ("events", "limit")

    def __init__(self, events: Events, limit: StreamLimit) -> None:
        self.status = 200
        self.etag = ""
        self.body = b""
        self.head = _HEAD.head
        self.not_modified = b""
        self.events = events
        self.limit = limit


class StreamResponse(web.StreamResponse):
    """The same as aiohttp's response: it is prepared for as long as it lasts, and ends with its connection."""

    def __init__(self, answer: StreamAnswer, lines: list[bytes]) -> None:
        self._keep_alive = False
        self._answer = answer
        self._lines = lines

    @property
    def status(self) -> int:
        return 200

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Sends events until there are no more, the client goes away, or it does not read."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        stream_begins(request)
        transport.write(b"".join((self._answer.head, *self._lines, b"Connection: close\r\n\r\n")))
        self._answer.limit.count += 1
        try:
            async with aclosing(self._answer.events()) as events:  # type: ignore[type-var]  # a generator's
                async for event in events:
                    if transport.is_closing() or request.protocol.writing_paused:
                        transport.abort()
                        return None
                    transport.write(event)
        finally:
            self._answer.limit.count -= 1
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to send."""
        assert not data
