"""Campaigns: which status may follow which, what an active campaign needs, and when it may dial.

The triggers and constraints of migration 0007 state the same rules in SQL; tests hold the two to each other.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Literal

from msgspec import Meta, Struct

CampaignStatus = Literal["draft", "active", "paused", "archived"]
DialerMode = Literal["manual", "preview", "progressive", "predictive"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
GroupState = Literal["usable", "disabled", "missing"]
"""Of the group that a campaign names. Missing: it is gone, or it is another customer's."""
Refusal = Literal["transition", "no_group", "group_disabled", "group_missing"]

FOLLOWING: Mapping[CampaignStatus, frozenset[CampaignStatus]] = {
    "draft": frozenset({"active", "archived"}),
    "active": frozenset({"paused", "archived"}),
    "paused": frozenset({"active"}),
    "archived": frozenset(),
}
"""What may follow each status."""
RUNNING: frozenset[CampaignStatus] = frozenset({"active", "paused"})
"""A campaign in these needs its group: the group can't be taken away from it."""
_REFUSED_FOR: Mapping[GroupState | None, Refusal | None] = {
    None: "no_group",
    "usable": None,
    "disabled": "group_disabled",
    "missing": "group_missing",
}


def refusal(current: CampaignStatus, wanted: CampaignStatus, group: GroupState | None) -> Refusal | None:
    """Why a campaign must not get the status `wanted`; None if it may. `group` is None where it names no group.

    An impossible transition is refused as such, whatever the group.
    """
    if wanted not in FOLLOWING[current]:
        return "transition"
    return group_refusal(group) if wanted == "active" else None


def group_refusal(group: GroupState | None) -> Refusal | None:
    """Why calls can't be made with this group; None if they can."""
    return _REFUSED_FOR[group]


_Time = Annotated[str, Meta(pattern=r"\A([01][0-9]|2[0-3]):[0-5][0-9]\Z")]


class Span(Struct, frozen=True, forbid_unknown_fields=True, rename={"begin": "from", "end": "to"}):
    """Part of a day in the customer's time zone, as HH:MM; `to` is later than `from` and not part of it."""

    begin: _Time
    end: _Time


_Spans = Annotated[tuple[Span, ...], Meta(max_length=24)]


class TimeWindow(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """When a campaign may dial. On a day without spans it does not."""

    mon: _Spans = ()
    tue: _Spans = ()
    wed: _Spans = ()
    thu: _Spans = ()
    fri: _Spans = ()
    sat: _Spans = ()
    sun: _Spans = ()


def time_window_problems(window: TimeWindow) -> list[tuple[str, str]]:
    """(path, detail) of each day whose spans end before they begin, or overlap. Spans that touch do not overlap."""
    return [(day, problem) for day in window.__struct_fields__ for problem in _problems(getattr(window, day))]


def _problems(spans: Sequence[Span]) -> Iterable[str]:
    for span in spans:
        if span.begin >= span.end:
            yield f"{span.begin} is not before {span.end}"
    for earlier, later in pairwise(sorted(spans, key=lambda span: (span.begin, span.end))):
        if later.begin < earlier.end:
            yield f"{earlier.begin}-{earlier.end} overlaps {later.begin}-{later.end}"
