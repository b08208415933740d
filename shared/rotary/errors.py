"""Every error Rotary raises on purpose. Each says what happened, to what, and what to do."""


class RotaryError(Exception):
    """The root of the tree: catch it to catch everything Rotary raises on purpose."""


class ConfigurationError(RotaryError):
    """A setting is missing or has the wrong form. Programs print it on one line and exit with 2."""


class EventRefusedError(RotaryError):
    """An event breaks the contract of its type; `reason` is what a person reads beside the parked message."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UnavailableError(RotaryError):
    """A server we depend on does not answer now; asking again later is right. `what` names it in a reader's words."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class GroupNotFoundError(RotaryError):
    """There is no such group among this customer's; another customer's group is no different from none."""
