"""What one reader of a stream is sent, in any order of states and however slowly it reads."""

import asyncio
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from rotary.auth.grant import Grant
from rotary_query.http.sse import Stale, StreamReader, behind, stale

NOW = 1_800_000_000_000
AWAY, LATE = Stale("away", b"stale:away;"), Stale("late", b"stale:late;")


class Transport:
    """Takes what is written, and holds it while the client does not read."""

    def __init__(self) -> None:
        self.sent = b""
        self.held = 0
        self.reads = True

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return self.held

    def write(self, data: bytes) -> None:
        assert not self.held, "nothing is sent before the last was taken"
        self.sent += data
        self.held = 0 if self.reads else len(data)


def reader_of(transport: Transport) -> StreamReader:
    async def make() -> StreamReader:
        return StreamReader(cast("asyncio.Transport", transport), cast("Grant", None), "1")

    return asyncio.run(make())


def test_facts_are_behind_from_two_seconds_on() -> None:
    assert behind(1_999, NOW) is None
    told = behind(2_000, NOW)
    assert told is not None
    assert told.event == (
        b'event: stale\ndata: {"since":"2027-01-15T07:59:58Z",'
        b'"reason":"The counts are behind the event broker","lag_seconds":2}\n\n'
    )
    assert stale("Redis is away", NOW, None).event == (
        b'event: stale\ndata: {"since":"2027-01-15T08:00:00Z","reason":"Redis is away"}\n\n'
    )


states: Any = st.sampled_from([None, AWAY, LATE])  # nothing wrong, no snapshot to be had, old facts


@given(st.lists(st.tuples(states, st.integers(1, 3), st.booleans()), max_size=20))
def test_once_it_reads_it_knows_the_snapshot_and_whether_that_is_current(
    steps: list[tuple[Stale | None, int, bool]],
) -> None:
    transport = Transport()
    reader = reader_of(transport)
    known, warned = "1", ""
    for at, (state, etag, reads) in enumerate([*steps, (steps[-1][0] if steps else None, 1, True)]):
        if reads:
            transport.held = 0
        transport.reads, transport.sent = reads, b""
        is_read = transport.held == 0
        now = float(at) / 100
        if state is AWAY:
            reader.warn(AWAY, now)
        else:
            reader.show(str(etag), b"snapshot;", state, now)
        if not is_read:
            assert transport.sent == b""
            continue
        reason = "" if state is None else state.reason
        is_new = state is not AWAY and (known != str(etag) or (warned != "" and state is None))
        marked = state.event if state is not None and (is_new or warned != reason) else b""
        assert transport.sent == (b"snapshot;" if is_new else b"") + marked
        warned = reason
        if state is not AWAY:
            known = str(etag)
