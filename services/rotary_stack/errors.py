"""The errors of the stack. Each message says what failed and what to do."""

from pathlib import Path

from rotary.errors import RotaryError

TAIL_LINES = 20


class StackError(RotaryError):
    """The stack could not do what was asked."""


class NotReadyError(StackError):
    """A process runs but does not answer yet. The caller checks again."""


class StartFailedError(StackError):
    """A process failed to start or to finish. The message ends with the last lines it logged after `offset`."""

    def __init__(self, what: str, log: Path, offset: int = 0) -> None:
        super().__init__(f"{what}\n{_tail(log, offset)}".rstrip())


class BinariesMissingError(StackError):
    """Servers are not installed, and this user cannot install them."""

    def __init__(self, binaries: list[str], packages: list[str]) -> None:
        self.packages = packages
        super().__init__(
            f"not installed: {', '.join(binaries)}\n"
            f"Run this as root and try again:  apt-get install --no-install-recommends {' '.join(packages)}\n"
            "Or run the same system in containers:  docker compose up"
        )


def _tail(log: Path, offset: int) -> str:
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(offset)
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join(f"  | {line}" for line in lines[-TAIL_LINES:])
