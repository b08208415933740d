"""The table: a row for each fault, in Markdown, as the README has it."""

from collections.abc import Sequence

from msgspec import Struct


class Row(Struct, frozen=True):
    """What one fault did. `repeated`: calls that reached the fold although they had been folded before. `stale`:
    answers, and moments of event streams, that showed old facts as current ones."""

    fault: str
    confirmed: int
    repeated: int
    lost: int
    doubled: int
    stale: int
    seconds: float


_TITLES = (
    "fault",
    "events confirmed",
    "delivered more than once",
    "lost",
    "double-counted",
    "old shown as fresh",
    "seconds to recover",
)
_COUNTS = ("confirmed", "repeated", "lost", "doubled", "stale")


def markdown(rows: Sequence[Row]) -> str:
    """The rows and their sums, every column as wide as it must be."""
    return layout([_TITLES, *map(_cells, rows), _total(rows)])


def layout(cells: Sequence[tuple[str, ...]]) -> str:
    """Lines of a Markdown table, the first being its titles; every column is as wide as it must be."""
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = [_line(line, widths) for line in cells]
    rule = (
        "| " + " | ".join("-" * width if not at else "-" * (width - 1) + ":" for at, width in enumerate(widths)) + " |"
    )
    return "\n".join([lines[0], rule, *lines[1:]])


def _cells(row: Row) -> tuple[str, ...]:
    return (row.fault, *(f"{getattr(row, field):,}" for field in _COUNTS), f"{row.seconds:.1f}")


def _total(rows: Sequence[Row]) -> tuple[str, ...]:
    sums = [sum(getattr(row, field) for row in rows) for field in _COUNTS]
    return ("all of them", *(f"{number:,}" for number in sums), "")


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = zip(cells, widths, strict=True)
    return "| " + " | ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]) + " |"
