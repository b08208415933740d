"""Shows a watch: as a live table where there is a terminal, as plain snapshots where there is none."""

import asyncio
from collections.abc import Sequence

from rich.live import Live
from rich.text import Text

from rotary.domain.monitor import MonitorMember
from rotary_demo.activity import Item
from rotary_demo.dashboard import NEWS, View, clock, picture, spell
from rotary_demo.poller import Watch
from rotary_demo.terminal import Terminal

LOOK_SECONDS = 0.25
SNAPSHOT_SECONDS = 2.0


async def show(terminal: Terminal, watch: Watch, intro: Sequence[Text]) -> None:
    """Shows `intro` once and the watch until it is cancelled, or nobody reads any more."""
    if terminal.animated:
        while True:
            await _live(terminal, watch, intro)
            # The lines above have been wrapped anew: only an empty screen is known to hold no remains.
            terminal.clear()
    terminal.write(intro)
    while not terminal.gone:
        terminal.write([Text(), *snapshot(await watch.look()), *map(_news, watch.news.take())])
        await asyncio.sleep(SNAPSHOT_SECONDS)


async def _live(terminal: Terminal, watch: Watch, intro: Sequence[Text]) -> None:
    """Draws until the terminal changes its size."""
    terminal.write(intro)
    size = terminal.size
    room = size.height - sum(max(1, -(-len(line) // size.width)) for line in intro)
    with Live(console=terminal, auto_refresh=False, vertical_overflow="crop") as live:
        while terminal.size == size:
            live.update(picture(await watch.look(), size.width, room), refresh=True)
            await asyncio.sleep(LOOK_SECONDS)


def snapshot(view: View) -> list[Text]:
    """The monitor in plain lines."""
    monitor = view.reading.monitor
    lag = "unknown" if view.reading.lag_seconds is None else f"{view.reading.lag_seconds} s"
    head = (
        f"{view.now:%Y-%m-%dT%H:%M:%SZ} group {monitor.group_id} ({monitor.group_name}):"
        f" {monitor.total_members} members, {monitor.eligible_now} eligible, {monitor.in_cooldown} in cooldown,"
        f" {monitor.disabled} disabled; {view.confirmed} events published, {view.a_second:.1f}/s, lag {lag}"
    )
    below = [f"  {view.trouble}"] if view.trouble else [_line(member, view) for member in monitor.members]
    return [Text(line) for line in (head, *below)]


def _line(member: MonitorMember, view: View) -> str:
    line = (
        f"  {member.caller_id_id:>3} {member.number:<13} {member.carrier:<12} {member.status:<14}"
        f" health {member.health_score:>3}  calls {member.calls_today:>3}/{member.daily_cap}"
    )
    if member.cooldown_until is None:
        return line
    return f"{line}  until {clock(member.cooldown_until, view)} ({spell(member.cooldown_until - view.now)})"


def _news(item: Item) -> Text:
    return Text(f"  {item.at:%H:%M:%SZ} {NEWS[item.kind][0]} {item.text}")
