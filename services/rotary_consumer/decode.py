"""Decodes the deliveries of a log into one batch for each customer, and into refusals to park.

Every verdict is a function of the log: of the message, the arrival marker before it and, for an event ahead of that
marker, the marker after it. So it is the same live and in any replay, on any consumer, with any clock.
"""

from collections.abc import Sequence

from msgspec import Struct, field

from rotary.domain.acceptance import Arrived, check_time, window
from rotary.domain.facts import event_ms, time_ms
from rotary.errors import EventRefusedError
from rotary.events import MAX_AHEAD_MS, CallPlaced, Event
from rotary.rabbitmq.markers import Marker, is_in_markers_place, read_marker
from rotary.rabbitmq.messages import (
    Opened,
    Reason,
    Refused,
    joined,
    open_message,
    reason_of,
    refused,
    refused_events,
)
from rotary.rabbitmq.stream import Delivery
from rotary.redis import keys
from rotary.redis.fold import Batch

MAX_LATE_MS = 600_000
"""A marker that is earlier than its predecessor by less than this was late; by more, the clock had been wrong."""
LATE_MS = 3_600_000
"""An event that is older on arrival may belong to a day that history has seen already; see `late.py`."""
MAX_CALLS = 10_000
"""So many calls, and the rest of a message, are decoded at once: while they are, this consumer's other logs wait.

The more calls of a caller ID are folded in one step, the less each costs: see
docs/decisions/0012-a-fold-is-ten-thousand-calls.md."""
FLAG_WEIGHT = 10
"""A flag or a clear counts as so many calls, because it may be merged into 256 flags: all of a step must be folded
before Redis seems to be away."""


class Decoded(Struct):
    """A decoded run of deliveries.

    `batches` holds the accepted events by customer, `refused` the refusals by offset. `events` counts all events, bad
    ones included, and `weight` counts them in calls. `marker` is the last marker in the run, `marker_ms` the time in
    force after it, `end` the first offset after the run. `late` holds the customers of late events.
    """

    batches: dict[int, Batch] = field(default_factory=dict)
    refused: list[tuple[int, Refused]] = field(default_factory=list)
    events: int = 0
    weight: int = 0
    marker: Marker | None = None
    marker_ms: int = 0
    end: int = 0
    deliveries: Sequence[Delivery] = ()
    late: set[int] = field(default_factory=set)


class MessageDecoder:
    """Decodes the deliveries of one log in order, and tracks when they arrived.

    `marker_ms` is the time of the marker before the next delivery. `clock_offset_ms` shifts the markers' clock, for
    rehearsals.
    """

    def __init__(self, queue: str, clock_offset_ms: int = 0) -> None:
        self._queue = queue
        self._clock_offset_ms = clock_offset_ms
        self.marker_ms = 0
        self.upcoming: tuple[int, int] | None = None
        """The offset and time of the next marker, once it was looked for."""

    def decode(self, deliveries: Sequence[Delivery], floors: Sequence[int] | None) -> Decoded:
        """Decodes deliveries up to the first that needs a later marker, or up to a weight of MAX_CALLS.

        `floors` holds, by bucket, the offset below which it is complete; None when no bucket is ahead.
        """
        found, count = Decoded(end=deliveries[0].offset), 0
        for at, delivery in enumerate(deliveries):
            if not delivery.exchange and is_in_markers_place(delivery, self._queue):
                self._mark(delivery, found)
            elif not self._decode_one(delivery, deliveries, at, floors, found):
                break
            found.end, count = delivery.offset + 1, at + 1
            if found.weight >= MAX_CALLS:
                break
        found.deliveries, found.marker_ms = deliveries[:count], self.marker_ms
        return found

    def _mark(self, delivery: Delivery, found: Decoded) -> None:
        marker = read_marker(delivery)
        if marker is None:
            reason = Reason("not_a_marker", "published straight into a log, where only consumers put their markers")
            found.refused.append((delivery.offset, refused(delivery, reason)))
            return
        found.marker = marker
        # A late marker is older than its place in the log and is ignored; a clock that was set back is followed.
        if not 0 < self.marker_ms - marker.at_ms < MAX_LATE_MS:
            self.marker_ms = marker.at_ms
        if self.upcoming is not None and delivery.offset >= self.upcoming[0]:
            self.upcoming = None

    def _decode_one(  # the verdict may need the deliveries after it
        self,
        delivery: Delivery,
        deliveries: Sequence[Delivery],
        at: int,
        floors: Sequence[int] | None,
        found: Decoded,
    ) -> bool:
        """Returns False when the verdict needs a later marker."""
        try:
            opened = open_message(delivery)
        except EventRefusedError as error:
            found.refused.append((delivery.offset, refused(delivery, reason_of(error))))
            return True
        if floors is not None and delivery.offset < floors[keys.bucket_of(opened.customer)]:
            return True
        after_ms = before_ms = self.marker_ms + self._clock_offset_ms
        first_ms, last_ms = times = _first_and_last_ms(opened.events, after_ms)
        if first_ms < after_ms - LATE_MS:
            found.late.add(opened.customer)
        if last_ms > after_ms + MAX_AHEAD_MS:
            upcoming_ms = self._next_marker_ms(deliveries, at)
            if upcoming_ms is None:
                return False
            before_ms = max(before_ms, upcoming_ms + self._clock_offset_ms)
        self._add(delivery, opened, times, Arrived(after_ms, before_ms), found)
        return True

    def _next_marker_ms(self, deliveries: Sequence[Delivery], at: int) -> int | None:
        if self.upcoming is not None:
            return self.upcoming[1]
        for delivery in deliveries[at + 1 :]:
            if is_in_markers_place(delivery, self._queue) and (marker := read_marker(delivery)):
                self.upcoming = delivery.offset, marker.at_ms
                return marker.at_ms
        return None

    def _add(
        self, delivery: Delivery, opened: Opened, times: tuple[int, int], arrived: Arrived, found: Decoded
    ) -> None:
        batch = found.batches.get(opened.customer)
        if batch is None:
            batch = found.batches[opened.customer] = Batch(opened.customer)
        earliest_ms, latest_ms = window(opened.kind, arrived)
        faults = dict(opened.faults)
        in_window = earliest_ms <= times[0] and times[1] <= latest_ms
        if not (in_window and _are_added(opened.events, times, batch)):
            for index, event in zip(opened.indices, opened.events, strict=True):
                at_ms = event_ms(event)
                if not earliest_ms <= at_ms <= latest_ms:
                    faults[index] = _out_of_window(event, at_ms, arrived)
                    continue
                try:
                    batch.add(event)
                except Exception as error:  # noqa: BLE001  # no event may stop the others
                    faults[index] = Reason("not_decodable", f"{type(error).__name__}: {error}")
        events = len(opened.events) + len(opened.faults)
        found.events += events
        found.weight += events if opened.kind is CallPlaced else FLAG_WEIGHT * events
        if faults:
            found.refused.append((delivery.offset, refused_events(delivery, faults)))


def _first_and_last_ms(events: Sequence[Event], otherwise_ms: int) -> tuple[int, int]:
    if len(events) <= 1:
        only_ms = event_ms(events[0]) if events else otherwise_ms
        return only_ms, only_ms
    times = [event.time for event in events]
    return time_ms(min(times)), time_ms(max(times))


def _are_added(events: Sequence[Event], times: tuple[int, int], batch: Batch) -> bool:
    try:
        batch.add_all(events, *times)
    except Exception:  # noqa: BLE001  # one by one they tell which, and adding again changes nothing
        return False
    return True


def _out_of_window(event: Event, at_ms: int, arrived: Arrived) -> Reason:
    try:
        check_time(event, at_ms, arrived)
    except EventRefusedError as error:
        return reason_of(error)
    raise AssertionError("outside its window and inside it")


def refusals(found: Decoded, callers: set[tuple[int, int]]) -> Sequence[tuple[int, Refused]]:
    """The refusals to park of a run, ascending by offset, one for each message.

    `callers` are the caller IDs, as (customer, caller), whose events the fold refused.
    """
    if not callers:
        return found.refused
    by_offset = dict(found.refused)
    for delivery in found.deliveries:
        if late := _of_callers(delivery, callers):
            by_offset[delivery.offset] = joined(by_offset.get(delivery.offset), late)
    return sorted(by_offset.items())


def _of_callers(delivery: Delivery, callers: set[tuple[int, int]]) -> Refused | None:
    try:
        opened = open_message(delivery)
    except EventRefusedError:
        return None
    detail = "the customer has no caller ID {}, and has used up today's allowance of unknown ones"
    faults = {
        index: Reason("unknown_caller_id", detail.format(event.data.caller_id_id))
        for index, event in zip(opened.indices, opened.events, strict=True)
        if (opened.customer, event.data.caller_id_id) in callers
    }
    return refused_events(delivery, faults) if faults else None
