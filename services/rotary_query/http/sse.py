"""Streams: the monitor as server-sent events, pushed to each reader when it changes."""

import asyncio
from typing import Protocol

import structlog
from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter

from rotary.auth.grant import Grant
from rotary.errors import GroupNotFoundError, UnavailableError
from rotary.http.responses import CachedResponse, Reading
from rotary_query.http.sse_events import AWAY, HEAD, Stale, behind, stale
from rotary_query.http.sse_limits import StreamLimits
from rotary_query.http.sse_readers import DeltaReader, SnapshotReader, StreamReader, View
from rotary_query.http.sse_requests import StreamKind

SPACING_SECONDS = 0.1
"""At most ten events a second for each group."""
LOOK_SECONDS = 1.0
"""How often a group is looked at when nothing says that it changed: time alone changes it, too."""
PATIENCE_SECONDS = 0.5
"""What is not read within this long is not current: readers are told."""

_log = structlog.get_logger("rotary_query")


class Monitors(Protocol):
    """Where snapshots come from, and whether a stream's reader may still have them."""

    async def monitor(self, customer: int, group_id: int) -> Reading:
        """The monitor now. Raises GroupNotFoundError, UnavailableError."""

    async def is_granted(self, grant: Grant) -> bool:
        """Whether the token still holds. Raises UnavailableError."""

    def redis_now_ms(self) -> int:
        """Redis' clock, by which the age of facts is told; 0 while it is not known."""


class Feed:
    """Everybody who watches one group: what they are sent is made once for all of them."""

    def __init__(self, monitors: Monitors, customer: int, group_id: int, first: CachedResponse) -> None:
        self.readers: set[StreamReader] = set()
        self.view = View(first)
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
        self.view.update(answer)
        now = self._now()
        if sum(reader.show(self.view, staleness, now) for reader in self.readers):
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

    def feed(self, customer: int, group_id: int, first: CachedResponse) -> Feed:
        """The group's feed, whose next readers see `first`, a body that was read just now. Give it a reader at once."""
        found = self._feeds.get((customer, group_id))
        if found is None:
            feed = Feed(self._monitors, customer, group_id, first)
            found = self._feeds[customer, group_id] = feed, asyncio.create_task(self._run(feed, (customer, group_id)))
        else:
            found[0].view.update(first)
        return found[0]

    async def show(self, feed: Feed, reader: StreamReader) -> None:
        """Feeds a reader until its stream ends, or its client goes away and cancels this."""
        feed.readers.add(reader)
        feed.changed.set()  # something may have changed since its first event was made
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
        kind: StreamKind,
        grant: Grant,
        group_id: int,
        first: CachedResponse,
        staleness: Stale | None,
        lines: list[bytes],
    ) -> None:
        self._keep_alive = False
        self._streams = streams
        self._kind = kind
        self._grant = grant
        self._group_id = group_id
        self._first: CachedResponse | None = first
        self._staleness = staleness
        self._lines = lines

    @property
    def status(self) -> int:
        return 200

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Sends the first event, unless the client has that snapshot, and then whatever changes.

        If the facts are not current, an event that says so follows.
        """
        transport, first = request.transport, self._first
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        assert first is not None
        self._first = None  # it may be large, and the stream may last for days
        make = DeltaReader if self._kind == "deltas" else SnapshotReader
        reader = make(transport, self._grant, request.headers.get(hdrs.LAST_EVENT_ID, ""))
        feed = self._streams.feed(self._grant.customer_id, self._group_id, first)
        reader.begin(b"".join((HEAD, *self._lines, b"Connection: close\r\n\r\n")), feed.view, self._staleness)
        await self._streams.show(feed, reader)
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to send."""
        assert not data
