"""Shows the monitor: a live dashboard on a terminal, plain snapshots without one."""

import asyncio
from collections.abc import Sequence

from rich.live import Live
from rich.text import Text

from rotary.domain.monitor import MonitorMember
from rotary_demo.dashboard import DashboardState, activity_text, format_duration, format_time, render
from rotary_demo.poller import MonitorPoller
from rotary_demo.terminal import Terminal

REFRESH_SECONDS = 0.25
SNAPSHOT_SECONDS = 2.0


async def show(terminal: Terminal, poller: MonitorPoller, intro: Sequence[Text]) -> None:
    """Prints `intro`, then shows the monitor until it is cancelled or the reader of a pipe is gone."""
    if terminal.animated:
        while True:
            await _show_live(terminal, poller, intro)
            # A resize wraps the old lines differently. Only an empty screen is certain to show no remains of them.
            terminal.clear()
    terminal.write(intro)
    while not terminal.reader_gone:
        state = await poller.poll()
        news = [Text(f"  {activity_text(entry, state.zone)}") for entry in poller.activity.take()]
        terminal.write([*snapshot(state), *news, Text()])
        await asyncio.sleep(SNAPSHOT_SECONDS)


async def _show_live(terminal: Terminal, poller: MonitorPoller, intro: Sequence[Text]) -> None:
    """Redraws until the size of the terminal changes."""
    terminal.write(intro)
    size = terminal.size
    height = size.height - sum(max(1, -(-len(line) // size.width)) for line in intro)
    with Live(console=terminal, auto_refresh=False, vertical_overflow="crop") as live:
        while terminal.size == size:
            live.update(render(await poller.poll(), size.width, height), refresh=True)
            await asyncio.sleep(REFRESH_SECONDS)


def snapshot(state: DashboardState) -> list[Text]:
    """The monitor in plain lines. All times are in the customer's time zone."""
    monitor = state.reading.monitor
    lag = "unknown" if state.reading.lag_seconds is None else f"{state.reading.lag_seconds} s"
    over_quota = monitor.total_members - monitor.eligible_now - monitor.in_cooldown - monitor.disabled
    head = (
        f"{state.now.astimezone(state.zone).isoformat(timespec='seconds')} group {monitor.group_id}"
        f" ({monitor.group_name}): {monitor.total_members} members, {monitor.eligible_now} eligible,"
        f" {monitor.in_cooldown} in cooldown, {over_quota} over quota, {monitor.disabled} disabled;"
        f" {state.confirmed} events published, {state.per_second:.1f}/s, lag {lag}"
    )
    picks = state.picks
    next_at = ""
    if picks.next_at is not None:
        left = format_duration(picks.next_at - state.now)
        next_at = f"; group {picks.watched_group} has run out, next number in {left}"
    engine = (
        f"  engine: {picks.per_second():.1f} picks/s, {picks.total} picked, {picks.released} given back,"
        f" {picks.refusals} refused{next_at}"
    )
    below = [f"  {state.error}"] if state.error else [_member_line(member, state) for member in monitor.members]
    return [Text(line) for line in (head, engine, *below)]


def _member_line(member: MonitorMember, state: DashboardState) -> str:
    line = (
        f"  {member.caller_id_id:>3} {member.number:<13} {member.carrier:<12} {member.status:<14}"
        f" health {member.health_score:>3}  calls {member.calls_today:>3}/{member.daily_cap}"
    )
    if member.cooldown_until is None:
        return line
    until, left = format_time(member.cooldown_until, state), format_duration(member.cooldown_until - state.now)
    return f"{line:<73}  until {until} ({left})"
