"""What changed between two renderings of a group, as events: for readers that have one of them already.

A rendering is cut from the bytes of the answer's body: a member in an event is, byte for byte, the member in the body.
The checksum is over these bytes.
"""

from collections.abc import Iterable
from typing import NamedTuple
from zlib import crc32

import msgspec
from msgspec import Raw, Struct

from rotary.http.bodies import Envelope
from rotary.http.responses import CachedResponse

MAX_REMOVED = 1_000
"""Former members that are remembered. When there are more, every reader gets a snapshot."""


class _Id(Struct):
    caller_id_id: int


class _Member(NamedTuple):
    text: bytes
    crc: int
    seq: int
    """The first rendering in which it is as it is now."""


_decode = msgspec.json.Decoder(Envelope[dict[str, Raw]]).decode
_decode_members = msgspec.json.Decoder(list[Raw]).decode
_decode_ids = msgspec.json.Decoder(list[_Id]).decode


class DeltaLog:
    """The last rendering of a group and, for each member, since which rendering it is as it is.

    From this follows the event that leads from any earlier rendering to the last, however many are between. It is made
    once, for all readers that are at the same rendering.
    """

    __slots__ = ("_body", "_checksum", "_etag", "_events", "_fields", "_members", "_oldest", "_removed", "seq")

    def __init__(self, seq: int) -> None:
        """`seq` comes before the first rendering's sequence number."""
        self.seq = seq
        self._oldest = seq + 1
        """The first rendering from which a delta leads to the last."""
        self._etag = ""
        self._body = b""
        self._fields = b""
        self._checksum = 0
        self._members: dict[int, _Member] = {}
        self._removed: dict[int, int] = {}
        self._events: dict[int, bytes] = {}

    def advance(self, answer: CachedResponse) -> None:
        """Takes the present body of the monitor. One that is the same as the last is no new rendering."""
        if answer.etag == self._etag:
            return
        self.seq += 1
        self._etag, self._body = answer.etag, answer.body
        self._events.clear()
        fields = _decode(answer.body).data
        members = fields.pop("members")
        self._fields = b",".join(b'"%b":%b' % (name.encode(), text) for name, text in fields.items() if name != _GROUP)
        self._take(zip((one.caller_id_id for one in _decode_ids(members)), _decode_members(members), strict=True))

    def reaches(self, seq: int) -> bool:
        """Whether a delta can lead from this rendering to the last."""
        return self._oldest <= seq <= self.seq

    def event(self, known: int | None) -> bytes:
        """What a reader lacks that has the rendering `known`: a delta, which may be empty. Else a snapshot.

        A delta over several renderings may have a member that is as it was before, or remove one that was never shown.
        """
        since = known if known is not None and self.reaches(known) else 0
        event = self._events.get(since)
        if event is None:
            event = self._events[since] = self._delta(since) if since else self._snapshot()
        return event

    def _take(self, members: Iterable[tuple[int, Raw]]) -> None:
        before, self._members = self._members, {}
        checksum = self._checksum
        for caller, raw in members:
            text, known = bytes(raw), before.pop(caller, None)
            if known is None or known.text != text:
                checksum ^= known.crc if known is not None else 0
                known = _Member(text, crc32(text), self.seq)
                checksum ^= known.crc
                self._removed.pop(caller, None)
            self._members[caller] = known
        for caller, gone in before.items():
            checksum ^= gone.crc
            self._removed[caller] = self.seq
        if len(self._removed) > MAX_REMOVED:
            self._removed.clear()
            self._oldest = self.seq
        self._checksum = checksum

    def _snapshot(self) -> bytes:
        data = b'{"seq":%d,"checksum":%d,%b' % (self.seq, self._checksum, self._body[1:])
        return b"event: snapshot\nid: %d\ndata: %b\n\n" % (self.seq, data)

    def _delta(self, since: int) -> bytes:
        return (
            b'event: delta\nid: %d\ndata: {"seq":%d,"from":%d,"checksum":%d,%b,"members":[%b],"removed":[%b]}\n\n'
            % (
                self.seq,
                self.seq,
                since,
                self._checksum,
                self._fields,
                b",".join([member.text for member in self._members.values() if member.seq > since]),
                b",".join([b"%d" % caller for caller, seq in self._removed.items() if seq > since]),
            )
        )


_GROUP = "group_id"
"""The one field of a monitor, besides its members, that a delta does not repeat: it never changes."""
