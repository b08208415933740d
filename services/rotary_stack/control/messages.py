"""What a stack says of itself: light enough for a client that is run between two steps of a test."""

from msgspec import Struct


class UnitStatus(Struct, frozen=True):
    """One program. `state` is running, starting, stopped, or ended (by itself)."""

    name: str
    state: str
    pid: int | None
    port: int
    url: str
    data: str | None
    """The directory a test may copy while the program is stopped; None for a program that keeps nothing."""
    log: str


class Status(Struct, frozen=True):
    """The whole stack: its own pid, its state directory, what a command inside is given, and its programs by name."""

    pid: int
    directory: str
    environ: dict[str, str]
    programs: dict[str, UnitStatus]
