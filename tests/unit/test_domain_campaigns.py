"""A campaign's status follows the table; an active one has a group that can be used."""

from itertools import product
from typing import get_args

import msgspec
import pytest

from rotary.domain.campaigns import (
    CampaignStatus,
    GroupState,
    Refusal,
    Span,
    TimeWindow,
    refusal,
    time_window_problems,
)

STATUSES: tuple[CampaignStatus, ...] = get_args(CampaignStatus)
GROUPS: tuple[GroupState | None, ...] = (None, *get_args(GroupState))
POSSIBLE = {
    ("draft", "active"),
    ("draft", "archived"),
    ("active", "paused"),
    ("active", "archived"),
    ("paused", "active"),
}
NEEDS: dict[GroupState | None, Refusal | None] = {
    None: "no_group",
    "usable": None,
    "disabled": "group_disabled",
    "missing": "group_missing",
}


@pytest.mark.parametrize(("current", "wanted", "group"), [*product(STATUSES, STATUSES, GROUPS)])
def test_a_status_follows_another_only_as_the_table_says_and_active_needs_a_group(
    current: CampaignStatus, wanted: CampaignStatus, group: GroupState | None
) -> None:
    expected: Refusal | None = "transition"
    if (current, wanted) in POSSIBLE:
        expected = NEEDS[group] if wanted == "active" else None
    assert refusal(current, wanted, group) == expected


@pytest.mark.parametrize(
    ("spans", "problems"),
    [
        ([], []),
        ([("08:00", "12:00"), ("12:00", "17:00")], []),
        ([("13:00", "17:00"), ("08:00", "12:00")], []),
        ([("08:00", "08:00")], ["08:00 is not before 08:00"]),
        ([("09:00", "08:00")], ["09:00 is not before 08:00"]),
        ([("08:00", "12:00"), ("11:59", "13:00")], ["08:00-12:00 overlaps 11:59-13:00"]),
        ([("08:00", "12:00"), ("08:00", "12:00")], ["08:00-12:00 overlaps 08:00-12:00"]),
    ],
)
def test_the_spans_of_a_day_end_after_they_begin_and_do_not_overlap(
    spans: list[tuple[str, str]], problems: list[str]
) -> None:
    window = TimeWindow(tue=tuple(Span(*span) for span in spans))
    assert time_window_problems(window) == [("tue", problem) for problem in problems]


@pytest.mark.parametrize(
    "text",
    [
        b'{"mon": [{"from": "8:00", "to": "12:00"}]}',
        b'{"mon": [{"from": "08:00", "to": "24:00"}]}',
        b'{"mon": [{"from": "08:00"}]}',
        b'{"mon": [{"from": "08:00", "to": "09:00", "x": 1}]}',
        b'{"monday": []}',
        b'{"mon": {}}',
    ],
)
def test_a_time_window_has_days_of_spans_and_nothing_else(text: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=TimeWindow)


def test_a_time_window_is_written_as_it_was_given() -> None:
    text = b'{"mon":[{"from":"08:00","to":"12:00"}]}'
    assert msgspec.json.encode(msgspec.json.decode(text, type=TimeWindow)) == text
