"""A reader of deltas has what a reader of snapshots has, whatever changes and however slowly it reads."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from datetime import UTC
from zlib import crc32

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rotary.domain.monitor import Monitor, MonitorMember
from rotary.http.responses import CachedResponse, success
from rotary_query.http.schemas import encode_monitor
from rotary_query.http.sse_deltas import MAX_REMOVED, DeltaLog
from stream_client import DeltaClient

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
members = st.builds(
    MonitorMember,
    caller_id_id=st.integers(1, 12),
    number=texts,
    carrier=st.sampled_from(["viettel", "other"]),
    status=st.sampled_from(["eligible", "cooldown"]),
    health_score=st.integers(0, 100),
    calls_today=st.integers(0, 3),
    daily_cap=st.just(200),
    cooldown_until=st.none() | st.datetimes(timezones=st.just(UTC)).map(lambda at: at.replace(microsecond=0)),
)


def rendered(found: Mapping[int, MonitorMember], name: str = "Sales") -> CachedResponse:
    """The answer for these members."""
    some = [found[caller] for caller in sorted(found)]
    eligible = sum(member.status == "eligible" for member in some)
    return success(encode_monitor(Monitor(3, name, len(some), eligible, len(some) - eligible, 0, some)))


def member(caller: int, calls: int = 0) -> MonitorMember:
    """One that may dial."""
    return MonitorMember(caller, f"09{caller}", "viettel", "eligible", 100, calls, 200, None)


def told(log: DeltaLog, client: DeltaClient) -> bytes:
    """What the log tells a client, which takes it."""
    event = log.event(client.seq or None)
    client.take_all(event.decode())
    return event


class Renderings(RuleBasedStateMachine):
    """Three readers, of which each reads when it likes."""

    @initialize(name=texts)
    def begin(self, name: str) -> None:
        self.log = DeltaLog(40)
        self.members: dict[int, MonitorMember] = {}
        self.name = name
        self.clients = [DeltaClient() for _ in range(3)]
        self.render()

    def render(self) -> None:
        self.answer = rendered(self.members, self.name)
        self.log.advance(self.answer)

    @rule(some=st.lists(members, max_size=4))
    def change_or_add(self, some: list[MonitorMember]) -> None:
        self.members |= {one.caller_id_id: one for one in some}
        self.render()

    @rule(callers=st.sets(st.integers(1, 12), max_size=6))
    def remove(self, callers: set[int]) -> None:
        self.members = {caller: one for caller, one in self.members.items() if caller not in callers}
        self.render()

    @rule(name=texts)
    def rename(self, name: str) -> None:
        self.name = name
        self.render()

    @rule(reader=st.integers(0, 2))
    def read(self, reader: int) -> None:
        client = self.clients[reader]
        told(self.log, client)
        assert client.body == self.answer.body.decode()
        assert client.seq == self.log.seq

    @rule(reader=st.integers(0, 2))
    def come_anew(self, reader: int) -> None:
        self.clients[reader] = DeltaClient()

    @invariant()
    def same_events_are_the_same_bytes(self) -> None:
        if hasattr(self, "log"):
            assert self.log.event(self.log.seq) is self.log.event(self.log.seq)
            assert self.log.event(None) is self.log.event(1)


TestRenderings = Renderings.TestCase


def test_a_delta_has_what_changed_and_nothing_else() -> None:
    log, client = DeltaLog(0), DeltaClient()
    log.advance(rendered({18: member(18), 19: member(19), 20: member(20)}))
    told(log, client)
    log.advance(rendered({18: member(18), 19: member(19, 1), 21: member(21)}))
    changed = [msgspec.json.encode(member(19, 1)).decode(), msgspec.json.encode(member(21)).decode()]
    checksum = crc32(msgspec.json.encode(member(18))) ^ crc32(changed[0].encode()) ^ crc32(changed[1].encode())
    assert told(log, client).decode() == (
        f'event: delta\nid: 2\ndata: {{"seq":2,"from":1,"checksum":{checksum},"group_name":"Sales","total_members":3,'
        f'"eligible_now":3,"in_cooldown":0,"disabled":0,"members":[{",".join(changed)}],"removed":[20]}}\n\n'
    )


def test_the_same_body_is_no_new_rendering_and_its_delta_is_empty() -> None:
    log, client = DeltaLog(0), DeltaClient()
    for _ in range(2):
        log.advance(rendered({18: member(18)}))
        told(log, client)
    assert log.seq == 1
    assert client.events == ["snapshot", "delta"]


@pytest.mark.parametrize("known", [0, 40, 43, 2**52])
def test_a_number_of_another_log_gets_a_snapshot(known: int) -> None:
    log = DeltaLog(40)
    for calls in range(2):
        log.advance(rendered({18: member(18, calls)}))
    assert log.event(known).startswith(b"event: snapshot\nid: 42\n")
    assert log.event(41).startswith(b"event: delta\nid: 42\n")


def test_what_was_removed_is_remembered_within_bounds() -> None:
    log, slow, slower = DeltaLog(0), DeltaClient(), DeltaClient()
    everybody = {caller: member(caller) for caller in range(1, MAX_REMOVED + 2)}
    log.advance(rendered(everybody))
    told(log, slower)
    log.advance(rendered({caller: one for caller, one in everybody.items() if caller > 1}))
    told(log, slow)
    log.advance(rendered({}))
    for client in (slow, slower):
        told(log, client)
        assert client.events[-1] == "snapshot"
        assert client.members == {}
    log.advance(rendered({1: member(1)}))
    told(log, slow)
    assert slow.events[-1] == "delta"


@given(st.lists(members, min_size=1, max_size=50))
def test_a_client_that_decodes_and_encodes_a_member_has_the_same_bytes(some: list[MonitorMember]) -> None:
    for one in some:
        text = msgspec.json.encode(one).decode()
        assert json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False) == text


def test_javascript_writes_a_member_as_it_was_sent() -> None:
    if shutil.which("node") is None:
        pytest.skip("needs node")
    characters = [chr(code) for code in (*range(0x180), 0x2028, 0x2029, 0xFEFF, 0xFFFD, 0xFFFF, 0x1F600, 0x10FFFF)]
    numbers = [*characters, "".join(characters), '+84"90\\1/2</script>', "\r\n\t\b\f", "số điện thoại"]
    sent = [msgspec.json.encode(MonitorMember(1, number, "viettel", "eligible", 9, 0, 1, None)) for number in numbers]
    script = "const text = require('fs').readFileSync(0, 'utf8');"
    script += "console.log(text.split('\\n').map((line) => JSON.stringify(JSON.parse(line)) === line).join());"
    ran = subprocess.run(["node", "-e", script], input=b"\n".join(sent), capture_output=True, check=True)
    assert set(ran.stdout.decode().strip().split(",")) == {"true"}, ran.stdout
