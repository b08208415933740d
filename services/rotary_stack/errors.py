"""What can go wrong with a stack, in words for the person who started it."""

from pathlib import Path

from rotary.errors import RotaryError

TAIL_LINES = 20


class StackError(RotaryError):
    """The stack could not do what was asked; the text says what to do."""


class NotReadyError(StackError):
    """A program runs but does not answer yet: asking again is right."""


class StartFailedError(StackError):
    """A program did not do what it was started for. The text ends with the last lines it logged after `offset`."""

    def __init__(self, what: str, log: Path, offset: int = 0) -> None:
        super().__init__(f"{what}\n{_tail(log, offset)}".rstrip())


class ProgramsMissingError(StackError):
    """Programs are not installed, and we may not install them."""

    def __init__(self, programs: list[str], packages: list[str]) -> None:
        self.packages = packages
        super().__init__(
            f"not installed: {', '.join(programs)}. Run  apt-get install --no-install-recommends {' '.join(packages)}"
            "  as root and try again, or use  docker compose up  instead"
        )


def _tail(log: Path, offset: int) -> str:
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(offset)
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join(f"  | {line}" for line in lines[-TAIL_LINES:])
