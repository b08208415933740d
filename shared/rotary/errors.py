"""The errors Rotary raises. Each says what happened, to what, and what to do."""


class RotaryError(Exception):
    """The base of all errors that Rotary raises."""


class ConfigurationError(RotaryError):
    """A setting is missing or invalid. Programs print one line and exit with status 2."""


class EventRefusedError(RotaryError):
    """An event breaks the contract of its type. `reason` is kept beside the parked message."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UnavailableError(RotaryError):
    """A server does not answer now; retry later. `what` says which, in words for an operator."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class GroupNotFoundError(RotaryError):
    """The customer has no such group. Another customer's group counts as missing."""
