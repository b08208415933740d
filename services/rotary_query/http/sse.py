"""Streams: the monitor as server-sent events, pushed to each reader when it changes."""

import asyncio
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

import msgspec
import structlog
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from rotary.auth.grant import Grant
from rotary.errors import GroupNotFoundError, UnavailableError
from rotary.http.responses import CachedResponse, Reading, ResponseTemplate
from rotary.redis.positions import CURRENT_MS
from rotary_query.http.sse_limits import StreamLimits

CONTENT_TYPE = "text/event-stream"
SPACING_SECONDS = 0.1
"""At most ten snapshots a second for each group."""
LOOK_SECONDS = 1.0
"""How often a group is looked at when nothing says that it changed: time alone changes it, too."""
PATIENCE_SECONDS = 0.5
"""What is not read within this long is not current: readers are told."""
COMMENT_SECONDS = 15.0
STALL_SECONDS = 5.0
"""A reader that has not drained one snapshot for so long is disconnected."""

_HEAD = ResponseTemplate(
    200, {"Content-Type": f"{CONTENT_TYPE}; charset=utf-8", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
)
_COMMENT = b":\n\n"
BEHIND = "The counts are behind the event broker"
AWAY = "Redis is away"
_log = structlog.get_logger("rotary_query")


class Monitors(Protocol):
    """Where snapshots come from, and whether a stream's reader may still have them."""

    async def monitor(self, customer: int, group_id: int) -> Reading:
        """The monitor now. Raises GroupNotFoundError, UnavailableError."""

    async def is_granted(self, grant: Grant) -> bool:
        """Whether the token still holds. Raises UnavailableError."""

    def redis_now_ms(self) -> int:
        """Redis' clock, by which the age of facts is told; 0 while it is not known."""


class Stale(NamedTuple):
    """Why what a stream shows is not current, and since when; `event` says so to readers."""

    reason: str
    event: bytes


def stale(reason: str, since_ms: int, lag_seconds: int | None) -> Stale:
    """Facts are complete up to `since_ms`, UTC milliseconds."""
    since = datetime.fromtimestamp(since_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    data = {"since": since, "reason": reason} | ({} if lag_seconds is None else {"lag_seconds": lag_seconds})
    return Stale(reason, b"event: stale\ndata: %b\n\n" % msgspec.json.encode(data))


def behind(age_ms: int, now_ms: int) -> Stale | None:
    """What to say of facts so old; None if they are current."""
    return stale(BEHIND, now_ms - age_ms, age_ms // 1000) if age_ms >= CURRENT_MS else None


class StreamReader:
    """One open stream. It is never sent a snapshot before it has taken the last: what it misses, the next one has.

    `known` is the ETag of the snapshot it has, `told` the reason for which it was last told that it is stale.
    """

    def __init__(self, transport: asyncio.Transport, grant: Grant, known: str, told: str = "") -> None:
        self.grant = grant
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport = transport
        self._known = known
        self._told = told
        self._stalled_at: float | None = None
        self._spoke_at = asyncio.get_running_loop().time()

    def show(self, etag: str, snapshot: bytes, staleness: Stale | None, now: float) -> bool:
        """Sends a snapshot if the reader lacks it, or was told that it is stale and it is not any more.

        What is not current is followed, in the same piece, by the event that says so: the last event counts. Nothing is
        sent that the reader can't take now; `now` is the event loop's time.
        """
        reason = "" if staleness is None else staleness.reason
        is_new = self._known != etag or (self._told != "" and staleness is None)
        if (not is_new and self._told == reason) or not self._can_take(now):
            return False
        marked = b"" if staleness is None else staleness.event
        self._known, self._told = etag, reason
        self._write(snapshot + marked if is_new else marked, now)
        return True

    def warn(self, staleness: Stale, now: float) -> None:
        """Says, once a reason, that there is no current snapshot."""
        if self._told != staleness.reason and self._can_take(now):
            self._told = staleness.reason
            self._write(staleness.event, now)

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
        self.is_stale = False
        self._monitors = monitors
        self._customer = customer
        self._group_id = group_id
        self._now = asyncio.get_running_loop().time
        self._sent_at = 0.0
        self._checked_at = self._now()
        self._complete_ms = monitors.redis_now_ms()
        """Up to when the facts last shown were complete, by Redis' clock."""

    async def run(self) -> None:
        """Shows the group to its readers until the last is gone."""
        while self.readers:
            self.changed.clear()
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._look()
            except UnavailableError as error:
                # The streams stay open: a browser does not come back from a 503 by itself.
                self._warn(error.public_message)
            except TimeoutError:
                self._warn(AWAY)
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
        answer, age_ms = await self._monitors.monitor(self._customer, self._group_id)
        now_ms = self._monitors.redis_now_ms()
        self._complete_ms = now_ms - age_ms
        staleness = behind(age_ms, now_ms)
        self.is_stale = staleness is not None
        event, now = snapshot(answer), self._now()
        if sum(reader.show(answer.etag, event, staleness, now) for reader in self.readers):
            self._sent_at = now

    def _warn(self, reason: str) -> None:
        self.is_stale = True
        staleness = stale(reason, self._complete_ms, None)
        for reader in self.readers:
            reader.warn(staleness, self._now())

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

    def __init__(self, monitors: Monitors, limit: int, limits: StreamLimits) -> None:
        self._monitors = monitors
        self._limit = limit
        self.limits = limits
        self._feeds: dict[tuple[int, int], tuple[Feed, asyncio.Task[None]]] = {}
        self._is_closed = False
        self.count = 0

    def changed(self, customer: int, group_id: int) -> None:
        """The group's monitor may read differently now."""
        if (found := self._feeds.get((customer, group_id))) is not None:
            found[0].changed.set()

    def look(self) -> None:
        """Every monitor may read differently now, or not at all."""
        for feed, _ in self._feeds.values():
            feed.changed.set()

    @property
    def stale_count(self) -> int:
        """Streams open whose readers were told that what they see is not current."""
        return sum(len(feed.readers) for feed, _ in self._feeds.values() if feed.is_stale)

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
        self.limits.opened(reader.grant)
        try:
            await reader.ended
        finally:
            self.count -= 1
            self.limits.closed(reader.grant)
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


class StreamResponse(web.StreamResponse):
    """A stream as aiohttp's response: it is prepared for as long as it lasts, and ends with its connection."""

    def __init__(  # all that one answer is made of
        self,
        streams: Streams,
        grant: Grant,
        group_id: int,
        first: CachedResponse,
        staleness: Stale | None,
        lines: list[bytes],
    ) -> None:
        self._keep_alive = False
        self._streams = streams
        self._grant = grant
        self._group_id = group_id
        self._first = first
        self._staleness = staleness
        self._lines = lines

    @property
    def status(self) -> int:
        return 200

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Sends the first snapshot, unless the client says that it has it, and then whatever changes.

        If the facts are not current, an event that says so follows.
        """
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        reason, marked = ("", b"") if self._staleness is None else self._staleness
        event = b"" if _has(request, self._first.etag) else snapshot(self._first)
        transport.write(b"".join((_HEAD.head, *self._lines, b"Connection: close\r\n\r\n", event, marked)))
        await self._streams.show(self._group_id, StreamReader(transport, self._grant, self._first.etag, reason))
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to send."""
        assert not data


def snapshot(answer: CachedResponse) -> bytes:
    """The event that carries an answer's body; its id is the ETag."""
    return b"event: snapshot\nid: %b\ndata: %b\n\n" % (answer.etag.encode(), answer.body)


def _has(request: web.BaseRequest, etag: str) -> bool:
    return request.headers.get("Last-Event-ID", "").strip('"') == etag.strip('"')
