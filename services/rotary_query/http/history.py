"""History's request and its body: days and members, summed from what is on record."""

import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from math import floor
from typing import Annotated

import msgspec
from msgspec import Meta, Struct, field

from rotary.definitions import GroupDefinition, MemberDefinition
from rotary.domain.history import HISTORY_DAYS
from rotary.domain.quota import local_date
from rotary.events import Id
from rotary.http.bodies import Envelope
from rotary.http.endpoints import group_id
from rotary.http.errors import Refusal
from rotary.http.responses import JSON, CachedResponse, ResponseTemplate, success
from rotary.postgres.history import NO_ROWS, History, HistoryDay, Totals

INVALID = "The given data was invalid."
FROM, TO, CALLER = "from", "to", "caller_id_id"
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_NO_DATE = "Expected a date such as 2026-11-25."
_UNPROCESSABLE = ResponseTemplate(422, {"Content-Type": JSON, "Cache-Control": "no-store"})

_Count = Annotated[int, Meta(ge=0)] | None
_Health = Annotated[int, Meta(ge=0, le=100)] | None


class InvalidBody(Struct, frozen=True):
    """What is wrong with a request, by field."""

    message: str
    errors: dict[str, list[str]]


class FlagCountsItem(Struct, frozen=True):
    """Flags by kind."""

    spam_label: _Count
    blocked: _Count
    user_report: _Count
    rejected: _Count


class HistoryDayItem(Struct, frozen=True):
    """One calendar day of the customer."""

    date: date
    calls: _Count
    flags: FlagCountsItem
    resting_seconds: _Count
    health: _Health
    final: bool


class HistoryMember(Struct, frozen=True):
    """One caller ID over all days of the answer."""

    caller_id_id: Id
    number: str
    calls: _Count
    flags: FlagCountsItem
    resting_seconds: _Count
    health: _Health


class HistoryBody(Struct, frozen=True):
    """The history of a group, or of one of its members. `days` and `members` ascend."""

    group_id: Id
    timezone: str
    from_: date = field(name=FROM)
    to: date
    days: list[HistoryDayItem]
    members: list[HistoryMember]


class Asked(Struct, frozen=True):
    """What a request asks for: days, both included, and members."""

    first: date
    last: date
    members: Sequence[MemberDefinition]


_encode = msgspec.json.Encoder().encode


def read_request(query: Mapping[str, str], group: GroupDefinition, now_ms: int) -> Asked:
    """What a query string asks for. Raises Refusal, 422, that names every parameter that is wrong."""
    errors: dict[str, list[str]] = {}
    yesterday = local_date(group.timezone, now_ms) - timedelta(days=1)
    last = _date(query, TO, yesterday, errors)
    first = _date(query, FROM, _days_before(last, HISTORY_DAYS - 1), errors)
    if not errors and first > last:
        errors[FROM] = ["Must not be after `to`."]
    elif not errors and last - first >= timedelta(days=HISTORY_DAYS):
        errors[FROM] = [f"Must be at most {HISTORY_DAYS - 1} days before `to`."]
    members = _members(query, group, errors)
    if errors:
        raise Refusal(CachedResponse(_UNPROCESSABLE, _encode(InvalidBody(INVALID, errors))))
    return Asked(first, last, members)


def _date(query: Mapping[str, str], name: str, default: date, errors: dict[str, list[str]]) -> date:
    text = query.get(name)
    if text is None:
        return default
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    errors[name] = [_NO_DATE]
    return default


def _days_before(day: date, days: int) -> date:
    return date.fromordinal(max(1, day.toordinal() - days))


def _members(
    query: Mapping[str, str], group: GroupDefinition, errors: dict[str, list[str]]
) -> Sequence[MemberDefinition]:
    text = query.get(CALLER)
    if text is None:
        return group.members
    row = group_id(text)
    found = [member for member in group.members if member.id == row]
    if not found:
        errors[CALLER] = ["Expected the id of a member of this group."]
    return found


def history_answer(group: GroupDefinition, asked: Asked, history: History) -> CachedResponse:
    """The answer."""
    return success(_encode(Envelope(history_body(group, asked, history))))


def history_body(group: GroupDefinition, asked: Asked, history: History) -> HistoryBody:
    """Sums over members, and over days. A caller ID without a row on a day that is known did nothing on it."""
    return HistoryBody(
        group.id,
        group.timezone,
        asked.first,
        asked.last,
        [_day(day, history.by_day.get(day.date, NO_ROWS), len(asked.members)) for day in history.days],
        [_member(member, history) for member in asked.members],
    )


def _day(day: HistoryDay, totals: Totals, members: int) -> HistoryDayItem:
    knew = day.knew
    calls, flags, resting = _sums(totals, [day])
    is_known = knew.health and knew.calls and members and totals.health[0] == totals.rows
    mean = (totals.health[1] + 100 * (members - totals.rows)) / members if is_known else 0
    return HistoryDayItem(day.date, calls, flags, resting, floor(mean + 0.5) if is_known else None, day.final)


def _member(member: MemberDefinition, history: History) -> HistoryMember:
    calls, flags, resting = _sums(history.by_caller.get(member.id, NO_ROWS), history.days)
    return HistoryMember(member.id, member.number, calls, flags, resting, _last_health(member.id, history))


def _last_health(caller: int, history: History) -> int | None:
    if not history.days:
        return None
    knew = history.days[-1].knew
    return history.last_health.get(caller, 100 if knew.health and knew.calls else None)


def _sums(totals: Totals, days: Sequence[HistoryDay]) -> tuple[int | None, FlagCountsItem, int | None]:
    """Calls, flags and resting over these days; None where any of it is not known."""
    has_flags = all(day.knew.flags for day in days)
    return (
        _sum(totals.calls, totals.rows, all(day.knew.calls for day in days) and days),
        FlagCountsItem(*(_sum(counted, totals.rows, has_flags and days) for counted in totals.flags)),
        _sum(totals.resting_seconds, totals.rows, all(day.knew.resting for day in days) and days),
    )


def _sum(counted: tuple[int, int], rows: int, is_known: object) -> int | None:
    known, total = counted
    return total if is_known and known == rows else None
