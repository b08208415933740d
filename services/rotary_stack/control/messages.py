"""The control protocol: one JSON line with a Request over a Unix socket, one with a Response back.

These types need nothing but msgspec, so that a client starts quickly.
"""

from typing import Literal

from msgspec import Struct

Action = Literal["start", "stop", "kill", "restart", "status"]


class Request(Struct, frozen=True):
    """`name` is the name of a process, or of a service for all its processes. `status` needs no name."""

    action: Action
    name: str = ""
    empty: bool = False


class ProcessStatus(Struct, frozen=True):
    """One process. `state` is running, starting, stopped, or ended, which means that it exited unexpectedly."""

    name: str
    state: str
    pid: int | None
    port: int
    url: str
    data: str | None
    """The directory with its data, which a test may copy while the process is stopped. None if it stores nothing."""
    log: str


class Status(Struct, frozen=True):
    """The whole stack: its own pid, its workspace, the variables of a command inside, and its processes by name."""

    pid: int
    directory: str
    environ: dict[str, str]
    programs: dict[str, ProcessStatus]


class Response(Struct, frozen=True):
    """Exactly one of the two is set."""

    error: str | None = None
    status: Status | None = None
