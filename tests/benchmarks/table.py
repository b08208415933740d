"""The one table: what was measured, the figure, its goal, and whether it is met; and the same as JSON."""

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct, field
from rich.console import Console
from rich.table import Table
from rich.text import Text

TOLERANCE = 0.15
"""How far a goal may be missed, relative to it, before the run fails: machines differ from day to day."""
Verdict = Literal["met", "near", "missed", "failed", "reported"]
_STYLES: dict[Verdict, str] = {
    "met": "green",
    "near": "yellow",
    "missed": "bold red",
    "failed": "bold red",
    "reported": "dim",
}
_LIBRARIES = ("aiohttp", "uvloop", "redis", "msgspec", "aio-pika", "aiormq", "fastapi", "uvicorn", "faststream")


class Goal(Struct, frozen=True):
    """A figure is to be at least, or at most, `value`."""

    bound: Literal["at least", "at most"]
    value: float

    def shortfall(self, figure: float) -> float:
        """By which share of the goal the figure misses it; 0 or less is met."""
        missing = self.value - figure if self.bound == "at least" else figure - self.value
        return missing / self.value


def at_least(value: float) -> Goal:
    """A goal that a greater figure meets."""
    return Goal("at least", value)


def at_most(value: float) -> Goal:
    """A goal that a lesser figure meets."""
    return Goal("at most", value)


class Row(Struct, frozen=True, kw_only=True):
    """One case. Without a goal it is only reported; without a figure it failed, and `detail` says how.

    `samples` are the rounds' own figures, by what they are of.
    """

    case: str
    figure: float | None
    unit: str
    goal: Goal | None = None
    detail: str = ""
    samples: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """`near` is a miss that is tolerated."""
        if self.figure is None:
            return "failed"
        if self.goal is None:
            return "reported"
        shortfall = self.goal.shortfall(self.figure)
        return "met" if shortfall <= 0 else "near" if shortfall <= TOLERANCE else "missed"


def passed(rows: Sequence[Row]) -> bool:
    """Whether no goal was missed by more than is tolerated, and every case could be measured."""
    return not any(row.verdict in ("missed", "failed") for row in rows)


def show(rows: Sequence[Row], console: Console) -> None:
    """Prints the table."""
    table = Table(title="Ratios of rounds in turn, in one run on one machine; medians", title_justify="left")
    table.add_column("case")
    table.add_column("figure", justify="right", no_wrap=True)
    table.add_column("goal", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("measured")
    for row in rows:
        told = Text(_verdict(row), style=_STYLES[row.verdict])
        table.add_row(Text(row.case), _figure(row), _goal(row), told, Text(row.detail))
    console.print(table)


def _verdict(row: Row) -> str:
    if row.goal is None or row.figure is None:
        return "" if row.figure is not None else "FAILED"
    shortfall = row.goal.shortfall(row.figure)
    return "met" if shortfall <= 0 else f"{'missed' if shortfall <= TOLERANCE else 'MISSED'} by {shortfall:.0%}"


def _figure(row: Row) -> str:
    return "" if row.figure is None else f"{number(row.figure)} {row.unit}"


def _goal(row: Row) -> str:
    if row.goal is None:
        return ""
    return f"{'≥' if row.goal.bound == 'at least' else '≤'} {row.goal.value:,.4g} {row.unit}"


def number(value: float) -> str:
    """Three digits that matter, thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


class Machine(Struct, frozen=True):
    """What the figures, unlike the ratios, depend on."""

    cores: int
    kind: str
    python: str
    libraries: dict[str, str]


class Results(Struct, frozen=True):
    """A whole run."""

    measured_at: datetime
    seconds: float
    quick: bool
    machine: Machine
    rows: Sequence[Row]


def write(rows: Sequence[Row], path: Path, *, cores: int, seconds: float, quick: bool) -> None:
    """Writes the run that just ended as JSON."""
    libraries = {name: version(name) for name in _LIBRARIES}
    machine = Machine(cores, platform.machine(), platform.python_version(), libraries)
    now = datetime.now(UTC).replace(microsecond=0)
    results = Results(now, round(seconds, 1), quick, machine, rows)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
