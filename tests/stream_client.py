"""A client of a stream of deltas, as docs/streams.md describes it: it checks everything that it is told."""

import json
from typing import Any
from zlib import crc32

import msgspec

from rotary_query.http.schemas import StreamDelta, StreamSnapshot, StreamStale


class DeltaClient:
    """What a reader of deltas has: the monitor as a JSON text, and whether it is current."""

    def __init__(self) -> None:
        self.seq = 0
        self.stale: StreamStale | None = None
        self.events: list[str] = []
        """The names of the events so far."""
        self._group: dict[str, Any] = {}
        self._members: dict[int, Any] = {}

    @property
    def body(self) -> str:
        """The body that the API would answer."""
        members = [self._members[caller] for caller in sorted(self._members)]
        return _text({"data": {**self._group, "members": members}})

    @property
    def members(self) -> dict[int, Any]:
        """The members by their ids."""
        return self._members

    def take(self, name: str, event_id: str, data: str) -> None:
        """Takes an event. Fails on one that does not fit."""
        self.events.append(name)
        if name == "stale":
            self.stale = msgspec.json.decode(data, type=StreamStale)
            assert event_id == "", "what a browser sends back is the last rendering"
            return
        self.stale = None
        told = json.loads(data)
        if name == "snapshot":
            msgspec.json.decode(data, type=StreamSnapshot)
            self._snapshot(told["data"])
        else:
            assert name == "delta"
            msgspec.json.decode(data, type=StreamDelta)
            self._delta(told)
        self.seq = told["seq"]
        assert event_id == str(self.seq)
        assert told["checksum"] == checksum(self._members.values())

    def take_all(self, text: str) -> None:
        """Takes every event of a stream's text."""
        for block in text.split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":") and line)
            if fields:
                self.take(fields["event"], fields.get("id", ""), fields["data"])

    def _snapshot(self, monitor: dict[str, Any]) -> None:
        self._members = {member["caller_id_id"]: member for member in monitor["members"]}
        self._group = {name: value for name, value in monitor.items() if name != "members"}

    def _delta(self, told: dict[str, Any]) -> None:
        assert told["from"] == self.seq, "an event is missing"
        # Several changes in one may end where they began, or remove what was never shown.
        is_one = told["seq"] == told["from"] + 1
        for member in told["members"]:
            caller = member["caller_id_id"]
            assert not is_one or self._members.get(caller) != member, "what has not changed is not sent"
            self._members[caller] = member
        for caller in told["removed"]:
            assert not is_one or caller in self._members, "what was not there is not removed"
            self._members.pop(caller, None)
        self._group = {name: told.get(name, value) for name, value in self._group.items()}


def checksum(members: Any) -> int:
    """Of decoded members."""
    found = 0
    for member in members:
        found ^= crc32(_text(member).encode())
    return found


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
