"""What one reader of a stream is sent, in any order of states and however slowly it reads."""

import asyncio
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from rotary.auth.grant import Grant
from rotary.http.responses import SUCCESS, CachedResponse
from rotary_query.http.sse_events import Stale, behind, stale
from rotary_query.http.sse_readers import DeltaReader, SnapshotReader, StreamReader, View
from stream_client import DeltaClient

NOW = 1_800_000_000_000
AWAY, LATE = Stale("away", b"stale:away;"), Stale("late", b"stale:late;")
READ_EVENT = b'event: stale\ndata: {"since":"2027-01-15T08:00:00Z","reason":"%b"}\n\n'


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

    def writelines(self, some: list[bytes]) -> None:
        self.write(b"".join(some))


def reader_of(transport: Transport, kind: type[SnapshotReader | DeltaReader], known: str) -> StreamReader:
    async def make() -> StreamReader:
        return kind(cast("asyncio.Transport", transport), cast("Grant", None), known)

    return asyncio.run(make())


def answer(number: int) -> CachedResponse:
    """The n-th body of a group."""
    member = b'{"caller_id_id":18,"number":"18","carrier":"other","status":"eligible","health_score":100,'
    member += b'"calls_today":%d,"daily_cap":200,"cooldown_until":null}' % number
    counts = b'"group_name":"x","total_members":1,"eligible_now":1,"in_cooldown":0,"disabled":0'
    return CachedResponse(SUCCESS, b'{"data":{"group_id":3,%b,"members":[%b]}}' % (counts, member), f'"{number}"')


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
    reader = reader_of(transport, SnapshotReader, "1")
    view = View(answer(1))
    known, warned = 1, ""
    for at, (state, number, reads) in enumerate([*steps, (steps[-1][0] if steps else None, 1, True)]):
        if reads:
            transport.held = 0
        transport.reads, transport.sent = reads, b""
        is_read = transport.held == 0
        now = float(at) / 100
        if state is AWAY:
            reader.warn(AWAY, now)
        else:
            view.update(answer(number))
            reader.show(view, state, now)
        if not is_read:
            assert transport.sent == b""
            continue
        reason = "" if state is None else state.reason
        is_new = state is not AWAY and (known != number or (warned != "" and state is None))
        marked = state.event if state is not None and (is_new or warned != reason) else b""
        event = b'event: snapshot\nid: "%d"\ndata: %b\n\n' % (number, answer(number).body)
        assert transport.sent == (event if is_new else b"") + marked
        warned = reason
        if state is not AWAY:
            known = number


@given(st.lists(st.tuples(states, st.integers(1, 3), st.booleans()), min_size=1, max_size=20))
def test_a_reader_of_deltas_that_reads_again_has_what_is_shown_and_knows_whether_it_is_current(
    steps: list[tuple[Stale | None, int, bool]],
) -> None:
    transport, client = Transport(), DeltaClient()
    view = View(answer(1))
    reader = reader_of(transport, DeltaReader, "")
    reader.begin(b"", view, None)
    for at, (state, number, reads) in enumerate([*steps, (*steps[-1][:2], True)]):
        if reads:
            transport.held = 0
        transport.reads = reads
        said = None if state is None else Stale(state.reason, READ_EVENT % state.reason.encode())
        if said is not None and said.reason == AWAY.reason:
            reader.warn(said, at / 100)
        else:
            view.update(answer(number))
            reader.show(view, said, at / 100)
        if transport.held == 0:
            client.take_all(transport.sent.decode())
            transport.sent = b""
            assert client.seq == view.deltas.seq or state is AWAY
            assert (client.stale.reason if client.stale else "") == ("" if state is None else state.reason)
            if state is not AWAY:
                assert client.body == answer(number).body.decode()


def test_the_first_event_of_deltas_is_what_the_last_event_id_lacks() -> None:
    view = View(answer(1))
    first = view.deltas.seq
    view.update(answer(2))
    for known, begins in (
        ("", b"event: snapshot\n"),
        (str(first), b"event: delta\nid: %d\n" % (first + 1)),
        (str(first + 1), b"event: delta\nid: %d\n" % (first + 1)),
        (str(first + 2), b"event: snapshot\n"),
        ("9" * 5000, b"event: snapshot\n"),
        ('"9c1f"', b"event: snapshot\n"),
        ("²", b"event: snapshot\n"),
    ):
        transport = Transport()
        reader_of(transport, DeltaReader, known).begin(b"HTTP/1.1 200 OK\r\n\r\n", view, None)
        assert transport.sent.partition(b"\r\n\r\n")[2].startswith(begins), known
