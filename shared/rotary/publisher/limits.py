"""Limits of a publisher: batch size, outstanding events, deadlines."""

from typing import Literal

from msgspec import Struct

from rotary.errors import ConfigurationError
from rotary.events import MAX_BATCH_EVENTS

WhenFull = Literal["wait", "raise"]


def _require(name: str, valid: bool, expected: str) -> None:  # noqa: FBT001 - the condition is the argument
    if not valid:
        raise ConfigurationError(f"{name} is out of range; expected {expected}")


class Limits(Struct, frozen=True, kw_only=True):
    """The defaults suit dialers with a few calls a minute and dialers with thousands a second.

    Raises ConfigurationError when a value is out of range.
    """

    batch_seconds: float = 0.005
    """How long an event may wait for others to join its message. With nothing in flight it does not wait."""
    batch_events: int = 500
    """Maximum events in a message, 1 to 1,000. With 1 each event is a message of its own."""
    outstanding_events: int = 20_000
    """Maximum events accepted and not yet confirmed. This bounds the memory: about 2 KB an event."""
    when_full: WhenFull = "wait"
    """What `publish`, `call_placed` and the like do at that limit. `submit` cannot wait, so it always raises."""
    deadline_seconds: float = 30.0
    """Time from acceptance to the confirm, reconnects included. After it a DeadlineError returns the event."""

    def __post_init__(self) -> None:
        _require("batch_seconds", 0 <= self.batch_seconds <= 60, "0 to 60")
        _require("batch_events", 1 <= self.batch_events <= MAX_BATCH_EVENTS, f"1 to {MAX_BATCH_EVENTS:,}")
        _require("outstanding_events", self.outstanding_events >= 1, "1 or more")
        _require("when_full", self.when_full in ("wait", "raise"), "wait or raise")
        _require("deadline_seconds", self.deadline_seconds > 0, "more than 0")


DEFAULT_LIMITS = Limits()
