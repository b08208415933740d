"""A group's monitor as a picture for a terminal, as wide and high as there is room for."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from msgspec import Struct
from rich.console import Group
from rich.table import Table
from rich.text import Text

from rotary.definitions import CARRIER_LABELS
from rotary.domain.monitor import MemberStatus, MonitorMember
from rotary_demo.activity import Item, Kind
from rotary_demo.api_client import Reading

SYMBOLS: dict[MemberStatus, str] = {"eligible": "●", "cooldown": "◐", "quota_exceeded": "■", "disabled": "○"}
STYLES: dict[MemberStatus, str] = {
    "eligible": "green",
    "cooldown": "yellow",
    "quota_exceeded": "magenta",
    "disabled": "bright_black",
}
NEWS: dict[Kind, tuple[str, str]] = {
    "published": ("→", "cyan"),
    "seen": ("←", "default"),
    "trouble": ("!", "red"),
}

WIDE, BARS, WORDS = 110, 79, 42
"""From how many columns on there is room for wide bars, for any, and for a status in words."""
NEWS_LINES = 8


class View(Struct, frozen=True):
    """What is shown: the last reading, what was published so far, and how fast. `changed` have just had a call."""

    reading: Reading
    zone: ZoneInfo
    now: datetime
    confirmed: int
    a_second: float
    changed: frozenset[int] = frozenset()
    trouble: str | None = None
    news: Sequence[Item] = ()


class Column(Struct, frozen=True):
    """One column: what a member's cell shows, and how wide a terminal must be to have it."""

    title: str
    cell: Callable[[MonitorMember, View], Text]
    from_width: int = 0
    right: bool = False


def picture(view: View, width: int, height: int) -> Group:
    """The monitor, and below it as much news as `height` lines leave room for."""
    room = height - len(view.reading.monitor.members) - 3
    parts: list[Text | Table] = [_title(view, width), _figures(view), _table(view, width)]
    if room >= 3:
        parts.insert(2, Text())
        room -= 1
    if room >= 2:
        parts += [Text(), *(_line(item, view.zone) for item in list(view.news)[-min(room - 1, NEWS_LINES) :])]
    for part in parts:
        if isinstance(part, Text):
            part.no_wrap, part.overflow = True, "ellipsis"
    return Group(*parts)


def _title(view: View, width: int) -> Text:
    monitor = view.reading.monitor
    over = monitor.total_members - monitor.eligible_now - monitor.in_cooldown - monitor.disabled
    counts: list[tuple[MemberStatus, int]] = [
        ("eligible", monitor.eligible_now),
        ("cooldown", monitor.in_cooldown),
        ("quota_exceeded", over),
        ("disabled", monitor.disabled),
    ]
    title = Text.assemble((f" Group {monitor.group_id} ", "bold reverse"), (f" {monitor.group_name} ", "bold"))
    for status, count in counts:
        title.append(f"  {SYMBOLS[status]} {count}" + (f" {status}" if width >= WIDE else ""), STYLES[status])
    return title.append(f"  of {monitor.total_members} · Ctrl-C ends it", "dim")


def _figures(view: View) -> Text:
    if view.trouble is not None:
        return Text(f" {view.trouble}", "bold red")
    lag = view.reading.lag_seconds
    return Text.assemble(
        (f" {view.a_second:.1f}", "bold"),
        " events/s",
        (f" · {view.confirmed:,} published · ", "dim"),
        (f"lag {'unknown' if lag is None else f'{lag} s'}", "dim" if lag in (0, 1) else "bold yellow"),
        (f" · {view.now.astimezone(view.zone):%H:%M:%S} in {place(view.zone)}", "dim"),
    )


def place(zone: ZoneInfo) -> str:
    """A zone as people call it: the city in its name."""
    return zone.key.rpartition("/")[2].replace("_", " ")


def _table(view: View, width: int) -> Table:
    gap = 2 if width >= WIDE else 1
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="dim")
    columns = [column for column in _columns(width) if width >= column.from_width]
    for column in columns:
        table.add_column(column.title, justify="right" if column.right else "left", no_wrap=True)
    for member in view.reading.monitor.members:
        cells = [column.cell(member, view) for column in columns]
        table.add_row(*cells, style="dim" if member.status == "disabled" else "")
    return table


def _columns(width: int) -> list[Column]:
    health, today = (12, 22) if width >= WIDE else (4, 6) if width >= BARS else (0, 0)
    return [
        Column(" ID", lambda member, _: Text(f"{member.caller_id_id:>3}"), right=True),
        Column("Number", lambda member, _: Text(member.number)),
        Column("Carrier", lambda member, _: Text(CARRIER_LABELS[member.carrier]), from_width=62),
        Column("Status" if width >= WORDS else "", lambda member, _: _status(member, width)),
        Column("Health", lambda member, _: _health(member, health), from_width=52),
        Column("Calls today" if width >= 52 else "Calls", lambda member, view: _used(member, view, today)),
        Column("Rests until", lambda member, view: _until(member, view, width), from_width=BARS),
    ]


def _status(member: MonitorMember, width: int) -> Text:
    word = f" {member.status}" if width >= WORDS else ""
    return Text(SYMBOLS[member.status] + word, STYLES[member.status])


def _health(member: MonitorMember, cells: int) -> Text:
    score = member.health_score
    style = "green" if score >= 70 else "yellow" if score >= 40 else "red"
    return bar(score / 100, cells, style).append(f"{score:>3}", style)


def _used(member: MonitorMember, view: View, cells: int) -> Text:
    share = member.calls_today / member.daily_cap
    drawn = bar(share, cells, "magenta" if share >= 1 else "bright_yellow" if share >= 0.9 else "blue")
    drawn.append(f"{member.calls_today:>3}", "bold reverse" if member.caller_id_id in view.changed else "")
    return drawn.append(f"/{member.daily_cap}", "dim")


def _until(member: MonitorMember, view: View, width: int) -> Text:
    if member.cooldown_until is None:
        return Text()
    at, left = clock(member.cooldown_until, view), spell(member.cooldown_until - view.now)
    # Beside the name of another day there is room for no more.
    return Text.assemble((at, "yellow"), (f" {left}" if width >= WIDE or len(at) == 5 else "", "dim"))


def bar(share: float, cells: int, style: str) -> Text:
    """A bar of so many cells and a space, `share` of it filled; told apart by form too, for want of colour."""
    if cells == 0:
        return Text()
    halves = round(min(1.0, share) * cells * 2)
    filled = "━" * (halves // 2) + "╸" * (halves % 2)
    return Text.assemble((filled, style), ("┄" * (cells - len(filled)) + " ", "bright_black"))


def clock(moment: datetime, view: View) -> str:
    """A moment in the view's zone: its time, with the day where it is another."""
    local = moment.astimezone(view.zone)
    same_day = local.date() == view.now.astimezone(view.zone).date()
    return f"{local:%H:%M}" if same_day else f"{local:%a %H:%M}"


def spell(span: timedelta) -> str:
    """A span of time in two units at most: 5h59m, 12m05s, 45s."""
    seconds = max(0, round(span.total_seconds()))
    if seconds >= 3600:
        return f"{seconds // 3600}h{seconds % 3600 // 60:02}m"
    return f"{seconds // 60}m{seconds % 60:02}s" if seconds >= 60 else f"{seconds}s"


def _line(item: Item, zone: ZoneInfo) -> Text:
    symbol, style = NEWS[item.kind]
    return Text.assemble((f" {item.at.astimezone(zone):%H:%M:%S} ", "dim"), (f"{symbol} {item.text}", style))
