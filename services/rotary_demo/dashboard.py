"""Renders a group's monitor for a terminal of any size."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from msgspec import Struct
from rich.console import Group
from rich.table import Table
from rich.text import Text

from rotary.definitions import CARRIER_LABELS
from rotary.domain.monitor import MemberStatus, MonitorMember
from rotary_demo.activity import Entry, Kind
from rotary_demo.api_client import MonitorReading
from rotary_demo.picks import PickCounts

SYMBOLS: dict[MemberStatus, str] = {"eligible": "●", "cooldown": "◐", "quota_exceeded": "■", "disabled": "○"}
STYLES: dict[MemberStatus, str] = {
    "eligible": "green",
    "cooldown": "yellow",
    "quota_exceeded": "magenta",
    "disabled": "bright_black",
}
ACTIVITY_LABELS: dict[Kind, tuple[str, str]] = {
    "published": ("event", "cyan"),
    "picked": ("pick", "green"),
    "observed": ("API", "default"),
    "error": ("error", "red"),
}
"""Of each kind: the word in front of the line, and its colour."""

WIDE_COLUMNS, BAR_COLUMNS, WORD_COLUMNS = 110, 79, 42
"""The terminal widths from which there is space for wide bars, for any bars, and for the status in words."""
MAX_ACTIVITY_LINES = 8


class DashboardState(Struct, frozen=True):
    """What is shown. `per_second` is the rate of confirmed events; `highlighted` caller IDs have just placed a call."""

    reading: MonitorReading
    zone: ZoneInfo
    now: datetime
    confirmed: int
    per_second: float
    picks: PickCounts
    highlighted: frozenset[int] = frozenset()
    error: str | None = None
    activity: Sequence[Entry] = ()


class Column(Struct, frozen=True):
    """One column of the table: how to render a member's cell, and the terminal width from which it is shown."""

    title: str
    cell: Callable[[MonitorMember, DashboardState], Text]
    min_width: int = 0
    right: bool = False


def render(state: DashboardState, width: int, height: int) -> Group:
    """The monitor, and below it as much activity as fits into `height` lines."""
    spare = height - len(state.reading.monitor.members) - 4
    parts: list[Text | Table] = [_title(state, width), _summary(state), _picks(state), _table(state, width)]
    if spare >= 3:
        parts.insert(3, Text())
        spare -= 1
    if spare >= 2:
        newest = list(state.activity)[-min(spare - 1, MAX_ACTIVITY_LINES) :]
        parts += [Text(), *(_activity_line(entry, state.zone) for entry in newest)]
    for part in parts:
        if isinstance(part, Text):
            part.no_wrap, part.overflow = True, "ellipsis"
    return Group(*parts)


def _title(state: DashboardState, width: int) -> Text:
    monitor = state.reading.monitor
    over_quota = monitor.total_members - monitor.eligible_now - monitor.in_cooldown - monitor.disabled
    counts: list[tuple[MemberStatus, int]] = [
        ("eligible", monitor.eligible_now),
        ("cooldown", monitor.in_cooldown),
        ("quota_exceeded", over_quota),
        ("disabled", monitor.disabled),
    ]
    title = Text.assemble((f" Group {monitor.group_id} ", "bold reverse"), (f" {monitor.group_name} ", "bold"))
    for status, count in counts:
        title.append(f"  {SYMBOLS[status]} {count}" + (f" {status}" if width >= WIDE_COLUMNS else ""), STYLES[status])
    return title.append(f"  of {monitor.total_members} · Ctrl-C quits", "dim")


def _summary(state: DashboardState) -> Text:
    if state.error is not None:
        return Text(f" {state.error}", "bold red")
    lag = state.reading.lag_seconds
    return Text.assemble(
        (f" {state.per_second:.1f}", "bold"),
        " events/s",
        (f" · {state.confirmed:,} published · ", "dim"),
        (f"lag {'unknown' if lag is None else f'{lag} s'}", "dim" if lag in (0, 1) else "bold yellow"),
        (f" · {state.now.astimezone(state.zone):%H:%M:%S} in {city(state.zone)}", "dim"),
    )


def _picks(state: DashboardState) -> Text:
    picks = state.picks
    line = Text.assemble(
        (f" {picks.per_second():.1f}", "bold"),
        " picks/s",
        (f" · {picks.total:,} picked, {picks.released:,} given back, {picks.refusals:,} refused · ", "dim"),
        f"group {picks.watched_group} ",
    )
    if picks.next_at is None:
        return line.append("● can be picked from", "green")
    left = format_duration(picks.next_at - state.now)
    return line.append(f"◐ has run out, next number in {left}", "bold yellow")


def city(zone: ZoneInfo) -> str:
    """The city in the name of a time zone."""
    return zone.key.rpartition("/")[2].replace("_", " ")


def _table(state: DashboardState, width: int) -> Table:
    gap = 2 if width >= WIDE_COLUMNS else 1
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="dim")
    columns = [column for column in _columns(width) if width >= column.min_width]
    for column in columns:
        table.add_column(column.title, justify="right" if column.right else "left", no_wrap=True)
    for member in state.reading.monitor.members:
        cells = [column.cell(member, state) for column in columns]
        table.add_row(*cells, style="dim" if member.status == "disabled" else "")
    return table


def _columns(width: int) -> list[Column]:
    wide = width >= WIDE_COLUMNS
    health, today = (12, 22) if wide else (4, 6) if width >= BAR_COLUMNS else (0, 0)
    return [
        Column(" ID", lambda member, _: Text(f"{member.caller_id_id:>3}"), right=True),
        Column("Number", lambda member, _: Text(member.number)),
        Column("Carrier", lambda member, _: Text(CARRIER_LABELS[member.carrier]), min_width=62),
        Column("Status" if width >= WORD_COLUMNS else "", lambda member, _: _status_cell(member, width)),
        Column("Health", lambda member, _: _health_cell(member, health), min_width=52),
        Column("Calls today" if width >= 52 else "Calls", lambda member, state: _calls_cell(member, state, today)),
        Column(
            "Cooldown until" if wide else "Cooldown",
            lambda member, state: _cooldown_cell(member, state, width),
            min_width=BAR_COLUMNS,
        ),
    ]


def _status_cell(member: MonitorMember, width: int) -> Text:
    word = f" {member.status}" if width >= WORD_COLUMNS else ""
    return Text(SYMBOLS[member.status] + word, STYLES[member.status])


def _health_cell(member: MonitorMember, cells: int) -> Text:
    score = member.health_score
    style = "green" if score >= 70 else "yellow" if score >= 40 else "red"
    return bar(score / 100, cells, style).append(f"{score:>3}", style)


def _calls_cell(member: MonitorMember, state: DashboardState, cells: int) -> Text:
    share = member.calls_today / member.daily_cap
    cell = bar(share, cells, "magenta" if share >= 1 else "bright_yellow" if share >= 0.9 else "blue")
    cell.append(f"{member.calls_today:>3}", "bold reverse" if member.caller_id_id in state.highlighted else "")
    return cell.append(f"/{member.daily_cap}", "dim")


def _cooldown_cell(member: MonitorMember, state: DashboardState, width: int) -> Text:
    if member.cooldown_until is None:
        return Text()
    at, left = format_time(member.cooldown_until, state), format_duration(member.cooldown_until - state.now)
    # A narrow terminal has no space for the duration beside the name of another day.
    return Text.assemble((at, "yellow"), (f" {left}" if width >= WIDE_COLUMNS or len(at) == 5 else "", "dim"))


def bar(share: float, cells: int, style: str) -> Text:
    """A bar of `cells` columns and a space. It is readable without colours too."""
    if cells == 0:
        return Text()
    halves = round(min(1.0, share) * cells * 2)
    filled = "━" * (halves // 2) + "╸" * (halves % 2)
    return Text.assemble((filled, style), ("┄" * (cells - len(filled)) + " ", "bright_black"))


def format_time(moment: datetime, state: DashboardState) -> str:
    """A time in the zone of `state`: hours and minutes, with the day's name if it is not today."""
    local = moment.astimezone(state.zone)
    same_day = local.date() == state.now.astimezone(state.zone).date()
    return f"{local:%H:%M}" if same_day else f"{local:%a %H:%M}"


def format_duration(duration: timedelta) -> str:
    """A duration in two units at most: 5h59m, 12m05s, 45s."""
    seconds = max(0, round(duration.total_seconds()))
    if seconds >= 3600:
        return f"{seconds // 3600}h{seconds % 3600 // 60:02}m"
    return f"{seconds // 60}m{seconds % 60:02}s" if seconds >= 60 else f"{seconds}s"


def activity_text(entry: Entry, zone: ZoneInfo) -> str:
    """An entry in plain text."""
    return f"{entry.at.astimezone(zone):%H:%M:%S} {ACTIVITY_LABELS[entry.kind][0]:<5} {entry.text}"


def _activity_line(entry: Entry, zone: ZoneInfo) -> Text:
    text = Text(f" {activity_text(entry, zone)}", ACTIVITY_LABELS[entry.kind][1])
    text.stylize("dim", 0, len(" 00:00:00"))
    return text
