"""What tests are given: events, members and groups in a few words, and hypothesis strategies for many of them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import strategies as st

from rotary.definitions import GroupDefinition, MemberDefinition, Status
from rotary.domain.facts import CallerFacts, Facts, Flag, GroupFacts, fold
from rotary.domain.monitor import MonitorMember, monitor
from rotary.events import (
    BATCH_CONTENT_TYPE,
    EVENT_CONTENT_TYPE,
    EXCHANGE,
    FLAG_KINDS,
    CallPlaced,
    CallPlacedData,
    CarrierFlag,
    CarrierFlagData,
    CooldownCleared,
    CooldownClearedData,
    Event,
    FlagKind,
    encode_batch,
    encode_event,
    routing_key,
)
from rotary.policy import DEFAULT_POLICY, Policy
from rotary.rabbitmq.stream import Delivery
from rotary.rabbitmq.topology import Log

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc(text: str) -> int:
    """`2026-06-06T12:00:00Z` as milliseconds; any offset will do."""
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(milliseconds=1)


def moment(at_ms: int) -> datetime:
    """UTC milliseconds as an event carries them."""
    return EPOCH + timedelta(milliseconds=at_ms)


NOW = utc("2026-06-06T12:00:00Z")


def placed(event_id: str, at_ms: int = NOW, caller: int = 18, source: str = "/dialers/a") -> CallPlaced:
    """A call."""
    return CallPlaced(
        specversion="1.0", id=event_id, source=source, time=moment(at_ms), data=CallPlacedData(caller_id_id=caller)
    )


def flagged(event_id: str, kind: FlagKind, at_ms: int = NOW, caller: int = 18, source: str = "/feed") -> CarrierFlag:
    """A carrier's flag."""
    data = CarrierFlagData(caller_id_id=caller, kind=kind)
    return CarrierFlag(specversion="1.0", id=event_id, source=source, time=moment(at_ms), data=data)


def cleared(event_id: str, at_ms: int = NOW, caller: int = 18, source: str = "/admin") -> CooldownCleared:
    """Somebody ended the rest."""
    data = CooldownClearedData(caller_id_id=caller)
    return CooldownCleared(specversion="1.0", id=event_id, source=source, time=moment(at_ms), data=data)


LOG = Log("calls", 0)
USER = "consumer"
"""Who publishes arrival markers."""


def delivered(
    offset: int, body: bytes, key: str = "call-placed.7", content_type: str = EVENT_CONTENT_TYPE, user: str = ""
) -> Delivery:
    """What a log delivers of what somebody published."""
    return Delivery(offset + 1, offset, EXCHANGE, key, content_type, user, body)


def delivered_event(offset: int, event: Event, customer: int = 7) -> Delivery:
    """One event in one message."""
    return delivered(offset, encode_event(event), routing_key(event, customer))


def delivered_batch(offset: int, events: Sequence[Event], customer: int = 7) -> Delivery:
    """Events of one type in one message."""
    return delivered(offset, encode_batch(events), routing_key(events[0], customer), BATCH_CONTENT_TYPE)


def delivered_marker(offset: int, at_ms: int, user: str = USER, token: str = "0123456789abcdef") -> Delivery:
    """An arrival marker in the log."""
    return Delivery(offset + 1, offset, "", LOG.queue, "text/plain", user, f"{at_ms}:{token}".encode())


def flags(*signs: tuple[FlagKind, int]) -> tuple[Flag, ...]:
    """(kind, UTC ms) pairs as the flags of one caller ID, ascending."""
    return tuple(sorted(Flag(at_ms, number, kind) for number, (kind, at_ms) in enumerate(signs)))


def member(caller: int = 18, status: Status = "active", daily_cap: int = 200) -> MemberDefinition:
    """A caller ID as a member of a group."""
    return MemberDefinition(caller, f"+8490{caller:07d}", None, "viettel", status, None, daily_cap, 1)


def group(
    members: Sequence[MemberDefinition], timezone: str = "Asia/Ho_Chi_Minh", policy: Policy = DEFAULT_POLICY
) -> GroupDefinition:
    """The group 3 of somebody in that zone."""
    return GroupDefinition(
        3, "Sales HCM", None, "round_robin", False, "active", EPOCH, timezone, policy, tuple(members)
    )  # fmt: skip


def by_row(of: GroupDefinition, facts: Mapping[int, CallerFacts]) -> GroupFacts:
    """The facts about a group's members, as `monitor` reads them."""
    return GroupFacts.of([one.id for one in of.members], facts)


def monitored(
    facts: CallerFacts, now_ms: int = NOW, timezone: str = "Asia/Ho_Chi_Minh", policy: Policy = DEFAULT_POLICY
) -> MonitorMember:
    """The monitor's entry for the only member of a group."""
    of = group([member()], timezone, policy)
    (shown,) = monitor(of, by_row(of, {18: facts}), now_ms).members
    return shown


def facts_about(events: Sequence[Event], caller: int = 18) -> Facts:
    """What the events say of one caller ID."""
    return fold({}, events).get(caller, Facts())


def _times(now_ms: int, reach: int) -> st.SearchStrategy[int]:
    """Times in a window of acceptance, often on the edge of a quarter hour or a day, often equal to one another."""
    edges = [now_ms, now_ms + 5 * MINUTE, now_ms - reach]
    edges += [now_ms // unit * unit - shift for unit in (15 * MINUTE, DAY) for shift in (0, 1)]
    return st.sampled_from(edges) | st.integers(now_ms - reach, now_ms + 5 * MINUTE)


@st.composite
def histories(
    draw: st.DrawFn, now_ms: int = NOW, callers: tuple[int, ...] = (1, 18), most: int = 30, bursts: bool = True
) -> list[Event]:
    """Events acceptable at `now_ms` about a few caller IDs, each its own fact; now and then a long burst of flags."""
    caller = st.sampled_from(callers)
    kind = st.sampled_from(FLAG_KINDS)
    source = st.sampled_from(["/dialers/a", "/dialers/b", "/feed"])
    calls = draw(st.lists(st.tuples(_times(now_ms, 2 * DAY), caller, source), max_size=most))
    signs = draw(st.lists(st.tuples(kind, _times(now_ms, 30 * DAY), caller, source), max_size=most // 2))
    clears = draw(st.lists(st.tuples(_times(now_ms, 30 * DAY), caller), max_size=2))
    events: list[Event] = [placed(f"call-{at}", *call) for at, call in enumerate(calls)]
    events += [flagged(f"flag-{at}", *sign) for at, sign in enumerate(signs)]
    events += [cleared(f"clear-{at}", *clear) for at, clear in enumerate(clears)]
    return events + (draw(_bursts(now_ms, caller)) if bursts and draw(st.integers(0, 5)) == 5 else [])


@st.composite
def _bursts(draw: st.DrawFn, now_ms: int, caller: st.SearchStrategy[int]) -> list[Event]:
    """More flags than are kept, at most times, on one caller ID; with a step of 0 all at one time."""
    about, count, step = draw(caller), draw(st.integers(200, 320)), draw(st.sampled_from([0, 1, MINUTE, HOUR]))
    return [
        flagged(f"burst-{at}", FLAG_KINDS[at % len(FLAG_KINDS)], now_ms - at // 2 * step, about) for at in range(count)
    ]


@st.composite
def deliveries(draw: st.DrawFn, events: Sequence[Event]) -> list[list[Event]]:
    """The same events as they may arrive: in any order, some more than once, in batches of any size."""
    # One seed instead of a draw an event: a burst is hundreds long, and what matters shrinks with the history.
    random = Random(draw(st.integers(0, 2**32)))
    arriving = [*events, *random.choices(events, k=random.randrange(len(events) + 1))] if events else []
    random.shuffle(arriving)
    batches: list[list[Event]] = []
    while arriving:
        size = random.randint(1, len(arriving))
        batches.append(arriving[:size])
        arriving = arriving[size:]
    return batches


def policies() -> st.SearchStrategy[Policy]:
    """Policies a customer may have written, the default first."""
    duration = st.integers(1, 30 * 86_400)
    severity = st.floats(0, 1000)
    return st.just(DEFAULT_POLICY) | st.builds(
        Policy,
        cooldown_user_report_seconds=duration,
        cooldown_spam_label_seconds=duration,
        cooldown_blocked_seconds=duration,
        cooldown_window_seconds=duration,
        cooldown_cap_seconds=duration,
        severity_blocked=severity,
        severity_rejected=st.floats(0, 1),
        health_half_life_seconds=duration,
        volume_weight=severity,
        volume_calls=st.integers(1, 40),
    )
