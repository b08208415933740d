"""What happened before somebody looked, for a table that begins full: today's calls and the flags of the last days."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

from msgspec import Struct

from rotary.domain.monitor import Monitor, MonitorMember
from rotary.events import Event, FlagKind
from rotary.publisher import EventFactory
from rotary_demo.working_day import moments_today


class Sign(Struct, frozen=True):
    """A carrier's flag, `ago` before the demo begins."""

    kind: FlagKind
    ago: timedelta


class Past(Struct, frozen=True):
    """What a caller ID has behind it: how many calls it has left today, its flags, and when a person cleared it."""

    left: int
    signs: tuple[Sign, ...] = ()
    cleared_ago: timedelta | None = None


# Group 3 as the curtain rises: six may dial, three rest, two are disabled, one has had its day.
_PASTS = {
    18: Past(left=23),
    19: Past(left=4),
    20: Past(left=380, signs=(Sign("rejected", timedelta(hours=3)),)),
    21: Past(left=0),
    22: Past(left=34, signs=(Sign("blocked", timedelta(days=2)), Sign("spam_label", timedelta(days=5)))),
    23: Past(left=43, signs=(Sign("spam_label", timedelta(hours=2, minutes=10)),)),
    24: Past(left=9),
    25: Past(left=300, signs=(Sign("spam_label", timedelta(days=3)),)),
    # A first complaint rests for an hour: this one's ends while one watches, with no event at all.
    26: Past(left=31, signs=(Sign("user_report", timedelta(minutes=59, seconds=15)),)),
    27: Past(left=60, signs=(Sign("blocked", timedelta(hours=20)), Sign("rejected", timedelta(hours=26)))),
    28: Past(left=220, signs=(Sign("blocked", timedelta(hours=30)),), cleared_ago=timedelta(hours=9)),
    29: Past(left=60, signs=(Sign("blocked", timedelta(days=1)), Sign("blocked", timedelta(hours=30)))),
}


def history(
    monitors: Iterable[Monitor], source: EventFactory, zone: ZoneInfo, now: datetime, chance: Random
) -> Iterator[Event]:
    """The events of a customer's past. A caller ID that is in two groups has called in the first of them."""
    told = set[int]()
    for monitor in monitors:
        for member in monitor.members:
            if member.caller_id_id in told:
                continue
            told.add(member.caller_id_id)
            past = _PASTS.get(member.caller_id_id) or Past(left=_left(member, chance))
            for moment in moments_today(max(0, member.daily_cap - past.left), zone, now, chance):
                yield source.call_placed(member.caller_id_id, monitor.group_id, lead(chance), time=moment)
            yield from _flags(member, past, source, now)


def lead(chance: Random) -> str:
    """Somebody in the dialer's own books."""
    return f"L-{chance.randint(1, 9999):04}"


def _left(member: MonitorMember, chance: Random) -> int:
    return member.daily_cap if member.status == "disabled" else round(member.daily_cap * chance.uniform(0.5, 0.8))


def _flags(member: MonitorMember, past: Past, source: EventFactory, now: datetime) -> Iterator[Event]:
    for sign in past.signs:
        yield source.carrier_flag(member.caller_id_id, sign.kind, member.carrier, time=now - sign.ago)
    if past.cleared_ago is not None:
        yield source.cooldown_cleared(member.caller_id_id, time=now - past.cleared_ago)
