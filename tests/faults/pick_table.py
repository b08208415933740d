"""The table of the engine's faults: a row for each, in Markdown, as the README has it."""

from collections.abc import Sequence

from msgspec import Struct


class PickRow(Struct, frozen=True):
    """What one fault did. `closed` are answers 503: nothing may be picked now."""

    fault: str
    picks: int
    refusals: int
    closed: int
    over_cap: int
    resting: int
    twice: int
    left: int
    seconds: float


TITLES = (
    "fault of the engine",
    "picks",
    "refusals",
    "closed (503)",
    "over cap",
    "resting picked",
    "ids twice",
    "reservations left",
    "seconds to recover",
)


def cells(rows: Sequence[PickRow]) -> list[tuple[str, ...]]:
    """The titles, the rows and their sums."""
    counts = ("picks", "refusals", "closed", "over_cap", "resting", "twice", "left")
    lines = [(row.fault, *(f"{getattr(row, name):,}" for name in counts), f"{row.seconds:.1f}") for row in rows]
    sums = (f"{sum(getattr(row, name) for row in rows):,}" for name in counts)
    return [TITLES, *lines, ("all of them", *sums, "")]
