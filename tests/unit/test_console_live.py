"""What the monitor's page computes is what the service means: groups put together from deltas, health, midnights."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from zlib import crc32
from zoneinfo import ZoneInfo

import msgspec
import pytest

from console_modules import evaluated
from histories import DAY, HOUR, NOW
from rotary.definitions import CARRIER_LABELS
from rotary.domain.facts import Flag
from rotary.domain.health import health_score
from rotary.domain.monitor import MemberStatus, Monitor, MonitorMember
from rotary.events import FLAG_KINDS
from rotary.http.responses import success
from rotary.policy import DEFAULT_POLICY
from rotary_query.http.schemas import encode_monitor
from rotary_query.http.sse_deltas import DeltaLog

STATUSES: tuple[MemberStatus, ...] = ("eligible", "cooldown", "disabled", "quota_exceeded")
PLAYED = """await (async () => {
  const state = new GroupState();
  for await (const { name, data } of sseEvents(new Response(given).body)) state[name](JSON.parse(data));
  return { seq: state.seq, members: [...state.members.values()], counts: state.counts };
})()"""
STATE = "{ GroupState, OutOfStep, nextBack } from live/group_state.js\n{ sseEvents } from live/sse.js"


def member(caller: int, rng: Random) -> MonitorMember:
    status = rng.choice(STATUSES)
    until = datetime(2026, 6, 6, 12, rng.randrange(60), tzinfo=UTC) if status == "cooldown" else None
    return MonitorMember(caller, f"090 {caller} ü", "viettel", status, rng.randrange(101), rng.randrange(9), 200, until)


def group(members: Sequence[MonitorMember]) -> Monitor:
    statuses = [one.status for one in members]
    eligible, cooldown, disabled = (statuses.count(status) for status in ("eligible", "cooldown", "disabled"))
    return Monitor(3, "Sales, phía bắc", len(members), eligible, cooldown, disabled, list(members))


def streamed(rng: Random, steps: int) -> tuple[str, Monitor]:
    """What a reader is sent that misses some renderings, and the last rendering."""
    log, told, known = DeltaLog(rng.randrange(2**50)), [], None
    found = {caller: member(caller, rng) for caller in rng.sample(range(1, 40), 8)}
    shown = group([])
    for _ in range(steps):
        for caller in rng.sample(range(1, 40), rng.randrange(4)):
            found[caller] = member(caller, rng)
        for caller in rng.sample(sorted(found), rng.randrange(2)):
            del found[caller]
        shown = group([found[caller] for caller in sorted(found)])
        log.advance(success(encode_monitor(shown)))
        if rng.random() < 0.7:
            told.append(log.event(known).decode())
            known = log.seq
    told.append(log.event(known).decode())
    return "".join(told), shown


@pytest.mark.parametrize("seed", range(4))
def test_a_group_put_together_from_deltas_is_the_group(seed: int) -> None:
    text, shown = streamed(Random(seed), 60)
    played = evaluated(PLAYED, text, STATE)
    assert played["members"] == msgspec.to_builtins(shown.members)
    assert played["counts"]["eligible_now"] == shown.eligible_now
    assert played["counts"]["over_quota"] == sum(one.status == "quota_exceeded" for one in shown.members)


def test_plain_snapshots_do_as_well() -> None:
    rng = Random(1)
    shown = [group([member(caller, rng) for caller in callers]) for callers in ((1, 2, 3), (2, 3, 5))]
    text = "".join(f'event: snapshot\nid: "x"\ndata: {encode_monitor(one).decode()}\n\n' for one in shown)
    played = evaluated(PLAYED, text, STATE)
    assert played["seq"] is None
    assert played["members"] == msgspec.to_builtins(shown[1].members)


@pytest.mark.parametrize("broken", [('"from":', '"from":1'), ('"checksum":', '"checksum":1')])
def test_a_delta_that_does_not_follow_is_refused(broken: tuple[str, str]) -> None:
    text, _ = streamed(Random(7), 10)
    head, last = text[: text.rindex("event: delta")], text[text.rindex("event: delta") :]
    script = f"{PLAYED}.then(() => 'taken', (error) => (error instanceof OutOfStep ? 'refused' : String(error)))"
    assert evaluated(script.removeprefix("await ").join(["await (", ")"]), head + last, STATE) == "taken"
    assert (
        evaluated(script.removeprefix("await ").join(["await (", ")"]), head + last.replace(*broken), STATE)
        == "refused"
    )


def test_a_change_knows_what_the_member_was_before() -> None:
    rng = Random(3)
    log = DeltaLog(5)
    first, second = member(1, rng), member(2, rng)
    changed = msgspec.structs.replace(second, calls_today=second.calls_today + 1)
    events: list[str] = []
    for shown in (group([first, second]), group([first, changed])):
        log.advance(success(encode_monitor(shown)))
        events.append(log.event(log.seq - 1 if events else None).decode())
    script = """await (async () => {
      const state = new GroupState();
      for await (const { name, data } of sseEvents(new Response(given).body)) state[name](JSON.parse(data));
      return [...state.changes].map(([id, before]) => [id, before.calls_today]);
    })()"""
    assert evaluated(script, "".join(events), STATE) == [[2, second.calls_today]]


def test_the_checksum_of_any_text_is_the_services() -> None:
    texts = ["", "a", "+84901234567", "Số gọi ra, 電話 📞", "x" * 5_000]
    assert evaluated("given.map(crc32)", texts, "{ crc32 } from live/crc32.js") == [
        crc32(one.encode()) for one in texts
    ]


def test_events_are_found_however_they_are_cut() -> None:
    text = "event: a\nid: 1\ndata: {}\n\n:\n\nevent: b\ndata: x\ndata: y\n\n"
    script = """await (async () => {
      const cut = (size) => new ReadableStream({ start(stream) {
        const bytes = new TextEncoder().encode(given);
        for (let at = 0; at < bytes.length; at += size) stream.enqueue(bytes.slice(at, at + size));
        stream.close();
      } });
      const found = [];
      for (const size of [1, 2, 7, 1000]) {
        const events = [];
        for await (const event of sseEvents(cut(size))) events.push(event);
        found.push(JSON.stringify(events));
      }
      return [...new Set(found)];
    })()"""
    (found,) = evaluated(script, text, "{ sseEvents } from live/sse.js")
    assert json.loads(found) == [
        {"name": "a", "id": "1", "data": "{}"},
        {"name": "", "id": "", "data": ""},
        {"name": "b", "id": "", "data": "x\ny"},
    ]


def test_the_explained_penalties_add_up_to_the_score() -> None:
    rng = Random(11)
    cases = [
        ([(rng.choice(FLAG_KINDS), rng.randrange(30 * 24)) for _ in range(rng.randrange(5))], rng.randrange(500))
        for _ in range(200)
    ]
    script = (
        "given.map(([flags, calls]) => "
        "score(flags.reduce((sum, [kind, hours]) => sum + faded(kind, hours), 0) + volume(calls)))"
    )
    expected = [
        health_score(
            calls, [Flag(NOW - hours * HOUR, n, kind) for n, (kind, hours) in enumerate(flags)], DEFAULT_POLICY, NOW
        )
        for flags, calls in cases
    ]
    assert evaluated(script, cases, "{ faded, score, volume } from live/health.js") == expected


def test_what_health_will_be_is_what_the_service_will_say() -> None:
    flags = [Flag(NOW - 5 * HOUR, 1, "blocked"), Flag(NOW - 80 * HOUR, 2, "spam_label")]
    now = health_score(0, flags, DEFAULT_POLICY, NOW)
    told = evaluated("[24, 72, 168].map((hours) => later(given, 0, hours))", now, "{ later } from live/health.js")
    expected = [health_score(0, flags, DEFAULT_POLICY, NOW + hours * HOUR) for hours in (24, 72, 168)]
    assert all(abs(a - b) <= 1 for a, b in zip(told, expected, strict=True))  # a score is rounded


def test_midnight_is_the_next_of_the_zone_also_when_clocks_change() -> None:
    zones = ["Asia/Ho_Chi_Minh", "Asia/Kolkata", "Europe/Berlin", "America/New_York", "UTC"]
    starts = [
        datetime(2026, 3, 28, 11, tzinfo=UTC),
        datetime(2026, 10, 24, 23, 30, tzinfo=UTC),
        datetime(2026, 11, 1, 4, tzinfo=UTC),
    ]
    cases = [(zone, int(start.timestamp()) * 1000) for zone in zones for start in starts]
    told = evaluated("given.map(([zone, at]) => nextMidnight(zone, at))", cases, "{ nextMidnight } from format.js")
    for (zone, at), midnight in zip(cases, told, strict=True):
        local = datetime.fromtimestamp(midnight / 1000, ZoneInfo(zone))
        assert (local.hour, local.minute, local.second) == (0, 0, 0), (zone, local)
        assert timedelta(0) < timedelta(milliseconds=midnight - at) <= timedelta(hours=25)


ARRANGED = "{ arrange, CARRIERS, STATUSES } from live/arrange.js"


def arranged(members: Sequence[MonitorMember], **filters: object) -> list[int]:
    """The ids that a table shows, in its order."""
    asked = {"statuses": [], "carrier": "", "search": "", "sort": None} | filters
    script = "arrange(given[0], { ...given[1], statuses: new Set(given[1].statuses) }).map((one) => one.caller_id_id)"
    found = evaluated(script, [msgspec.to_builtins(members), asked], ARRANGED)
    return [int(one) for one in found]


def test_a_table_knows_every_carrier_and_status() -> None:
    known = evaluated("[CARRIERS, STATUSES]", None, ARRANGED)
    assert [set(known[0]), set(known[1])] == [set(CARRIER_LABELS), set(STATUSES)]


def test_members_are_filtered_searched_and_sorted() -> None:
    soon, late = (datetime(2026, 6, 6, hour, tzinfo=UTC) for hour in (12, 15))
    members = [
        MonitorMember(1, "+84901234567", "viettel", "eligible", 90, 10, 100, None),
        MonitorMember(2, "028 7100 0123", "landline", "cooldown", 30, 50, 100, late),
        MonitorMember(3, "+84909999999", "viettel", "cooldown", 50, 0, 100, soon),
        MonitorMember(4, "+84911111111", "vinaphone", "quota_exceeded", 90, 101, 100, None),
    ]
    assert arranged(members) == [1, 2, 3, 4]
    assert arranged(members, statuses=["cooldown"]) == [2, 3]
    assert arranged(members, carrier="viettel") == [1, 3]
    assert arranged(members, search="0901") == arranged(members, search="+84 901") == [1]
    assert arranged(members, search="71000123") == [2]
    assert arranged(members, search="nobody") == []
    assert arranged(members, sort={"key": "health", "descending": False}) == [2, 3, 1, 4]
    assert arranged(members, sort={"key": "calls", "descending": True}) == [4, 2, 1, 3]
    assert arranged(members, sort={"key": "cooldown", "descending": False}) == [3, 2, 1, 4]
    assert arranged(members, sort={"key": "cooldown", "descending": True}) == [2, 3, 1, 4]
    assert arranged(members, sort={"key": "status", "descending": False}) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (45, "0:45"), (44.2, "0:45"), (3_661, "1:01:01"), (DAY / 1000 + 7_200, "1 day 2 hr"), (-5, "0:00")],
)
def test_a_countdown_is_read_at_a_glance(seconds: float, text: str) -> None:
    assert evaluated("countdown(given)", seconds, "{ countdown } from format.js") == text
