"""How much a publisher gathers, holds and waits for."""

from typing import Literal

from msgspec import Struct

from rotary.errors import ConfigurationError
from rotary.events import MAX_BATCH_EVENTS

WhenFull = Literal["wait", "raise"]


def _require(name: str, holds: bool, form: str) -> None:  # noqa: FBT001 - a condition is what it takes
    if not holds:
        raise ConfigurationError(f"{name} is out of range: give it as {form}")


class Limits(Struct, frozen=True, kw_only=True):
    """The defaults suit a dialer of a few calls a minute as well as one of thousands a second.

    Raises ConfigurationError when a number is out of its range.
    """

    batch_seconds: float = 0.005
    """How long an event may wait for others to share its message. A publisher with nothing in flight does not wait."""
    batch_events: int = 500
    """Events a message holds at most, 1 to 1,000. 1 publishes each event as a message of its own."""
    outstanding_events: int = 20_000
    """Events accepted and not yet confirmed at most: the bound on memory, about 2 KB an event."""
    when_full: WhenFull = "wait"
    """What `publish` and the methods like `call_placed` do at that bound. `submit` cannot wait, so it always raises."""
    deadline_seconds: float = 30.0
    """From acceptance to confirmation, reconnects included; then a DeadlineError carries the event back."""

    def __post_init__(self) -> None:
        _require("batch_seconds", 0 <= self.batch_seconds <= 60, "0 to 60")
        _require("batch_events", 1 <= self.batch_events <= MAX_BATCH_EVENTS, f"1 to {MAX_BATCH_EVENTS:,}")
        _require("outstanding_events", self.outstanding_events >= 1, "1 or more")
        _require("when_full", self.when_full in ("wait", "raise"), "wait or raise")
        _require("deadline_seconds", self.deadline_seconds > 0, "more than 0")


DEFAULT_LIMITS = Limits()
