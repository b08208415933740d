"""Limits of the engine's clients: deadlines and connections."""

from msgspec import Struct

from rotary.errors import ConfigurationError


def _require(name: str, valid: bool, expected: str) -> None:  # noqa: FBT001 - the condition is the argument
    if not valid:
        raise ConfigurationError(f"{name} is out of range; expected {expected}")


class EngineLimits(Struct, frozen=True, kw_only=True):
    """The defaults suit a call path: an answer takes milliseconds, and nobody waits longer than five seconds.

    Raises ConfigurationError when a value is out of range.
    """

    deadline_seconds: float = 5.0
    """Time for one call of a method, with all its attempts."""
    attempt_seconds: float = 2.0
    """Time for one attempt. After it the request is sent again, with the same idempotency key."""
    connections: int = 100
    """Maximum connections of `Engine`. `BlockingEngine` opens one for each thread that waits, and keeps this many."""

    def __post_init__(self) -> None:
        _require("deadline_seconds", self.deadline_seconds > 0, "more than 0")
        _require("attempt_seconds", self.attempt_seconds > 0, "more than 0")
        _require("connections", self.connections >= 1, "1 or more")


DEFAULT_LIMITS = EngineLimits()
