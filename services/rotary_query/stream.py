"""Streams: the monitor as server-sent events, pushed to each reader when it changes."""

import asyncio
from typing import Protocol

import structlog
from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter

from rotary.errors import GroupNotFoundError, UnavailableError
from rotary_query.answers import Answer, Sort
from rotary_query.auth import Grant

CONTENT_TYPE = "text/event-stream"
SPACING_SECONDS = 0.1
"""At most ten snapshots a second for each group."""
LOOK_SECONDS = 1.0
"""How often a group is looked at when nothing says that it changed: time alone changes it, too."""
COMMENT_SECONDS = 15.0
STALL_SECONDS = 5.0
"""A reader that has not drained one snapshot for so long is disconnected."""

_HEAD = Sort(
    200, {"Content-Type": f"{CONTENT_TYPE}; charset=utf-8", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
)
_COMMENT = b":\n\n"
_log = structlog.get_logger("rotary_query")


class Monitors(Protocol):
    """Where snapshots come from, and whether a stream's reader may still have them."""

    async def monitor(self, customer: int, group_id: int) -> Answer:
        """The monitor now. Raises GroupNotFoundError, UnavailableError."""

    async def is_granted(self, grant: Grant) -> bool:
        """Whether the token still holds. Raises UnavailableError."""


class StreamReader:
    """One open stream. It is never sent a snapshot before it has taken the last: what it misses, the next one has."""

    def __init__(self, transport: asyncio.Transport, grant: Grant, known: str) -> None:
        self.grant = grant
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport = transport
        self._known = known
        self._stalled_at: float | None = None
        self._spoke_at = asyncio.get_running_loop().time()

    def show(self, etag: str, event: bytes, now: float) -> bool:
        """Sends a snapshot if the reader lacks it and can take it now; `now` is the event loop's time."""
        if self._known == etag or not self._can_take(now):
            return False
        self._known = etag
        self._write(event, now)
        return True

    def keep_open(self, now: float) -> None:
        """Sends a comment if nothing was sent for long."""
        if now - self._spoke_at >= COMMENT_SECONDS and self._can_take(now):
            self._write(_COMMENT, now)

    def end(self) -> None:
        """Closes the stream."""
        if not self.ended.done():
            self.ended.set_result(None)

    def _write(self, data: bytes, now: float) -> None:
        self._spoke_at = now
        self._transport.write(data)

    def _can_take(self, now: float) -> bool:
        if self._transport.is_closing() or not self._transport.get_write_buffer_size():
            self._stalled_at = None
            return not self._transport.is_closing()
        self._stalled_at = self._stalled_at or now
        if now - self._stalled_at > STALL_SECONDS:
            self._transport.abort()
        return False


class Feed:
    """Everybody who watches one group: its snapshot is made once for all of them."""

    def __init__(self, monitors: Monitors, customer: int, group_id: int) -> None:
        self.readers: set[StreamReader] = set()
        self.changed = asyncio.Event()
        self._monitors = monitors
        self._customer = customer
        self._group_id = group_id
        self._now = asyncio.get_running_loop().time
        self._sent_at = 0.0
        self._checked_at = self._now()

    async def run(self) -> None:
        """Shows the group to its readers until the last is gone."""
        while self.readers:
            self.changed.clear()
            try:
                await self._look()
            except UnavailableError:
                pass  # The streams stay open, silent: a browser does not come back from a 503 by itself.
            except GroupNotFoundError:
                self.end()
            for reader in self.readers:
                reader.keep_open(self._now())
            await self._wait()

    def end(self) -> None:
        """Closes all of its streams."""
        for reader in self.readers:
            reader.end()

    async def _look(self) -> None:
        if self._now() - self._checked_at >= LOOK_SECONDS:
            self._checked_at = self._now()
            await self._check_grants()
        answer = await self._monitors.monitor(self._customer, self._group_id)
        event, now = snapshot(answer), self._now()
        if sum(reader.show(answer.etag, event, now) for reader in self.readers):
            self._sent_at = now

    async def _check_grants(self) -> None:
        for reader in [*self.readers]:
            if not await self._monitors.is_granted(reader.grant):
                reader.end()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self.changed.wait()
        except TimeoutError:
            return
        await asyncio.sleep(self._sent_at + SPACING_SECONDS - self._now())


class Streams:
    """All feeds of this process, each with a task that lives as long as anybody watches."""

    def __init__(self, monitors: Monitors, limit: int) -> None:
        self._monitors = monitors
        self._limit = limit
        self._feeds: dict[tuple[int, int], tuple[Feed, asyncio.Task[None]]] = {}
        self._is_closed = False
        self.count = 0

    def changed(self, customer: int, group_id: int) -> None:
        """The group's monitor may read differently now."""
        if (found := self._feeds.get((customer, group_id))) is not None:
            found[0].changed.set()

    @property
    def is_full(self) -> bool:
        """Whether no more streams may be opened."""
        return self._is_closed or self.count >= self._limit

    async def show(self, group_id: int, reader: StreamReader) -> None:
        """Feeds a reader until its stream ends, or its client goes away and cancels this."""
        feed = self._feed(reader.grant.customer_id, group_id)
        feed.readers.add(reader)
        feed.changed.set()  # something may have changed since its first snapshot was made
        self.count += 1
        try:
            await reader.ended
        finally:
            self.count -= 1
            feed.readers.discard(reader)

    async def close(self) -> None:
        """Ends every stream, and refuses more."""
        self._is_closed = True
        for feed, task in self._feeds.values():
            feed.end()
            task.cancel()
        await asyncio.gather(*(task for _, task in self._feeds.values()), return_exceptions=True)

    def _feed(self, customer: int, group_id: int) -> Feed:
        found = self._feeds.get((customer, group_id))
        if found is None:
            feed = Feed(self._monitors, customer, group_id)
            found = self._feeds[customer, group_id] = feed, asyncio.create_task(self._run(feed, (customer, group_id)))
        return found[0]

    async def _run(self, feed: Feed, key: tuple[int, int]) -> None:
        try:
            await feed.run()
        except Exception:  # noqa: BLE001  # logged; the readers come back to a new feed
            _log.exception("stream failed", group_id=key[1])
        finally:
            # A reader that joins after this finds no feed and starts another; one that joined before is in this one.
            del self._feeds[key]
            feed.end()


class StreamReply(web.StreamResponse):
    """A stream as aiohttp's response: it is prepared for as long as it lasts, and ends with its connection."""

    def __init__(self, streams: Streams, grant: Grant, group_id: int, first: Answer, lines: list[bytes]) -> None:
        self._keep_alive = False
        self._streams = streams
        self._grant = grant
        self._group_id = group_id
        self._first = first
        self._lines = lines

    @property
    def status(self) -> int:
        return 200

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Sends the first snapshot, unless the client says that it has it, and then whatever changes."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        event = b"" if _has(request, self._first.etag) else snapshot(self._first)
        transport.write(b"".join((_HEAD.head, *self._lines, b"Connection: close\r\n\r\n", event)))
        await self._streams.show(self._group_id, StreamReader(transport, self._grant, self._first.etag))
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to send."""
        assert not data


def is_wanted(request: web.BaseRequest) -> bool:
    """Whether the client asks for a stream instead of one body."""
    accept = request.headers.get(hdrs.ACCEPT)
    return accept is not None and CONTENT_TYPE in accept and request.method == hdrs.METH_GET


def snapshot(answer: Answer) -> bytes:
    """The event that carries an answer's body; its id is the ETag."""
    return b"event: snapshot\nid: %b\ndata: %b\n\n" % (answer.etag.encode(), answer.body)


def _has(request: web.BaseRequest, etag: str) -> bool:
    return request.headers.get("Last-Event-ID", "").strip('"') == etag.strip('"')
