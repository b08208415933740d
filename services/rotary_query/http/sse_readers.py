"""Who reads a stream: what each has, what it was told, and that it is never sent more than it can take."""

import asyncio
from abc import ABC, abstractmethod
from secrets import randbits

from rotary.auth.grant import Grant
from rotary.http.responses import CachedResponse
from rotary_query.http.sse_deltas import DeltaLog
from rotary_query.http.sse_events import COMMENT, Stale, snapshot

COMMENT_SECONDS = 15.0
STALL_SECONDS = 5.0
"""A reader that has not drained what it was sent for so long is disconnected."""
_SEQ_BITS = 52
"""A number of JavaScript has 53."""


class View:
    """A group as its streams show it now. Each event is made once, when the first reader needs it."""

    __slots__ = ("_answer", "_deltas", "_snapshot")

    def __init__(self, answer: CachedResponse) -> None:
        self._answer = answer
        self._snapshot: bytes | None = None
        self._deltas: DeltaLog | None = None

    def update(self, answer: CachedResponse) -> None:
        """This is the present body of the monitor."""
        if answer.etag != self._answer.etag:
            self._snapshot = None
        self._answer = answer

    @property
    def etag(self) -> str:
        """The body's."""
        return self._answer.etag

    @property
    def snapshot(self) -> bytes:
        """The event for readers of snapshots."""
        if self._snapshot is None:
            self._snapshot = snapshot(self._answer)
        return self._snapshot

    @property
    def deltas(self) -> DeltaLog:
        """The events for readers of deltas, up to date. Without such readers nothing is compared.

        Sequence numbers begin at random, so that one of another replica, or of an earlier log, is not taken for one of
        these.
        """
        if self._deltas is None:
            self._deltas = DeltaLog(randbits(_SEQ_BITS))
        self._deltas.advance(self._answer)
        return self._deltas


class StreamReader(ABC):
    """One open stream. It is never sent an event before it has taken the last: what it misses, the next one has.

    `told` is the reason for which it was last told that it is stale.
    """

    __slots__ = ("_spoke_at", "_stalled_at", "_told", "_transport", "ended", "grant")

    def __init__(self, transport: asyncio.Transport, grant: Grant, told: str = "") -> None:
        loop = asyncio.get_running_loop()
        self.grant = grant
        self.ended: asyncio.Future[None] = loop.create_future()
        self._transport = transport
        self._told = told
        self._stalled_at: float | None = None
        self._spoke_at = loop.time()

    def begin(self, head: bytes, view: View, staleness: Stale | None) -> None:
        """Sends the head and, in the same piece, what the reader lacks."""
        news = self._news(view, staleness) if self._lacks(view, staleness) else ()
        self._transport.writelines([head, *news])

    def show(self, view: View, staleness: Stale | None, now: float) -> bool:
        """Sends what the reader lacks, also if it lacks nothing but was told that it is stale and it is not any more.

        What is not current is followed, in the same piece, by the event that says so: the last event counts. Nothing is
        sent that the reader can't take now; `now` is the event loop's time.
        """
        if not self._lacks(view, staleness) or not self._can_take(now):
            return False
        self._write(b"".join(self._news(view, staleness)), now)
        return True

    def warn(self, staleness: Stale, now: float) -> None:
        """Says, once a reason, that there is nothing current to show."""
        if self._told != staleness.reason and self._can_take(now):
            self._told = staleness.reason
            self._write(staleness.event, now)

    def keep_open(self, now: float) -> None:
        """Sends a comment if nothing was sent for long."""
        if now - self._spoke_at >= COMMENT_SECONDS and self._can_take(now):
            self._write(COMMENT, now)

    def end(self) -> None:
        """Closes the stream."""
        if not self.ended.done():
            self.ended.set_result(None)

    @abstractmethod
    def _has(self, view: View) -> bool:
        """Whether it has this view."""

    @abstractmethod
    def _take(self, view: View) -> bytes:
        """The event that it lacks; from now on it has this view."""

    def _lacks(self, view: View, staleness: Stale | None) -> bool:
        return self._told != ("" if staleness is None else staleness.reason) or not self._has(view)

    def _news(self, view: View, staleness: Stale | None) -> list[bytes]:
        is_over = self._told != "" and staleness is None
        self._told = "" if staleness is None else staleness.reason
        event = self._take(view) if is_over or not self._has(view) else b""
        return [event] if staleness is None else [event, staleness.event]

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


class SnapshotReader(StreamReader):
    """Is sent the whole body whenever it changes. `known` is the ETag that it has."""

    __slots__ = ("_known",)

    def __init__(self, transport: asyncio.Transport, grant: Grant, last_event_id: str) -> None:
        super().__init__(transport, grant)
        bare = last_event_id.strip('"')
        self._known = f'"{bare}"'

    def _has(self, view: View) -> bool:
        return self._known == view.etag

    def _take(self, view: View) -> bytes:
        self._known = view.etag
        return view.snapshot


class DeltaReader(StreamReader):
    """Is sent a snapshot, and then what changes. `known` is the sequence number that it has.

    Its first event tells what it has now, even if it lacks nothing: an empty delta.
    """

    __slots__ = ("_known",)

    def __init__(self, transport: asyncio.Transport, grant: Grant, last_event_id: str) -> None:
        super().__init__(transport, grant, told="It has just come")
        is_seq = last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= len(str(2**_SEQ_BITS))
        self._known = int(last_event_id) if is_seq else None

    def _has(self, view: View) -> bool:
        return self._known == view.deltas.seq

    def _take(self, view: View) -> bytes:
        log = view.deltas
        event, self._known = log.event(self._known), log.seq
        return event
