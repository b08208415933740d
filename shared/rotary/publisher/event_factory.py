"""Makes the events of one CloudEvents source, with time-ordered ids and the current time."""

import os
import threading
from datetime import UTC, datetime
from itertools import count

import msgspec

from rotary.clock import Clock, system_clock
from rotary.errors import EventRefusedError
from rotary.events import (
    CallPlaced,
    CallPlacedData,
    CarrierFlag,
    CarrierFlagData,
    CooldownCleared,
    CooldownClearedData,
    Event,
    FlagKind,
    encode_event,
)

_decode = msgspec.json.Decoder(Event).decode


class EventFactory:
    """Makes events with the given `source`, for example `/dialers/hcm-1`. All processes of a dialer use one source.

    `time` needs an offset from UTC and defaults to now. `event_id` defaults to a new UUIDv7, which sorts by time. Pass
    both when the call has an id of its own, so that a call published twice counts once.

    >>> hcm = EventFactory("/dialers/hcm-1")
    >>> hcm.call_placed(18, group_id=3, lead_id="L-991").data
    CallPlacedData(caller_id_id=18, group_id=3, lead_id='L-991', pick_id=None)
    >>> hcm.carrier_flag(18, "spam_label", carrier="viettel").source
    '/dialers/hcm-1'
    >>> hcm.cooldown_cleared(18, event_id="ticket-4711").id
    'ticket-4711'
    """

    def __init__(self, source: str, clock: Clock | None = None) -> None:
        self.source = source
        self._clock = clock or system_clock()
        self._new_id = TimeOrderedIds().next
        self._latest = _moment(0)

    def call_placed(
        self,
        caller_id_id: int,
        group_id: int | None = None,
        lead_id: str | None = None,
        *,
        pick_id: str | None = None,
        time: datetime | None = None,
        event_id: str | None = None,
    ) -> CallPlaced:
        """One outbound call that showed this caller ID. `pick_id` is the pick that it was placed with, if any."""
        now, new_id = self._now()
        data = CallPlacedData(caller_id_id, group_id, lead_id, pick_id)
        return CallPlaced(specversion="1.0", id=event_id or new_id, source=self.source, time=time or now, data=data)

    def carrier_flag(
        self,
        caller_id_id: int,
        kind: FlagKind,
        carrier: str | None = None,
        code: str | int | None = None,
        note: str | None = None,
        *,
        time: datetime | None = None,
        event_id: str | None = None,
    ) -> CarrierFlag:
        """A carrier's flag. `kind` is spam_label, blocked, user_report or rejected (a plain SIP 603)."""
        now, new_id = self._now()
        data = CarrierFlagData(caller_id_id, kind, carrier, code, note)
        return CarrierFlag(specversion="1.0", id=event_id or new_id, source=self.source, time=time or now, data=data)

    def cooldown_cleared(
        self, caller_id_id: int, *, time: datetime | None = None, event_id: str | None = None
    ) -> CooldownCleared:
        """Ends the cooldown of this caller ID: flags up to `time` no longer cause one."""
        now, new_id = self._now()
        data = CooldownClearedData(caller_id_id)
        return CooldownCleared(
            specversion="1.0", id=event_id or new_id, source=self.source, time=time or now, data=data
        )

    def _now(self) -> tuple[datetime, str]:
        now_ms = self._clock()
        latest = self._latest
        if latest[0] != now_ms:
            latest = self._latest = _moment(now_ms)
        return latest[1], self._new_id(now_ms)


def _moment(now_ms: int) -> tuple[int, datetime]:
    return now_ms, datetime.fromtimestamp(now_ms / 1000, UTC)


class TimeOrderedIds:
    """UUIDv7 (RFC 9562, method 2): 48 bits of milliseconds and 73 random bits, incremented within a millisecond.

    Each id is greater than the one before it, also when the clock stands still or steps back. Safe for threads.

    >>> ids = TimeOrderedIds()
    >>> first, second = ids.next(1780747140123), ids.next(1780747140123)
    >>> first < second, first[:15]
    (True, '019e9ccc-fc1b-7')
    """

    def __init__(self) -> None:
        self._latest = (-1, "", count())
        self._lock = threading.Lock()

    def next(self, now_ms: int) -> str:
        """The next id, for a time in milliseconds since 1970-01-01T00:00:00Z."""
        ms, head, tails = self._latest
        if now_ms > ms:
            head, tails = self._start_millisecond(now_ms)
        # One counter per millisecond, which threads may share: `next` is atomic.
        return head + next(tails).to_bytes(6, "big").hex()

    def _start_millisecond(self, now_ms: int) -> tuple[str, "count[int]"]:
        with self._lock:
            ms, head, tails = self._latest
            if now_ms > ms:
                random_bits = int.from_bytes(os.urandom(10), "big")
                variant = 0x8000 | random_bits >> 66
                head = f"{now_ms >> 16:08x}-{now_ms & 0xFFFF:04x}-7{random_bits & 0xFFF:03x}-{variant:04x}-"
                # The highest bit is left free, so that a millisecond cannot run out of ids.
                tails = count((random_bits >> 12) & (2**47 - 1))
                self._latest = (now_ms, head, tails)
        return head, tails


def encode_checked(event: Event) -> bytes:
    """The event's JSON, validated by the rules of the consumer.

    Raises EventRefusedError, with the reason that the consumer would park it for. The check decodes the JSON, because
    a Struct's constructor does not validate its values.
    """
    try:
        body = encode_event(event)
        _decode(body)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
        raise EventRefusedError(str(error)) from None
    return body
