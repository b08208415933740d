"""The base classes of every error that Rotary raises on purpose."""


class RotaryError(Exception):
    """The base class. Catch it to catch every error that Rotary raises on purpose."""


class ConfigurationError(RotaryError):
    """A setting is missing or invalid. Programs print it on one line and exit with status 2."""


class EventRefusedError(RotaryError):
    """An event breaks the contract of its type.

    `detail` says how. `code` names the broken rule, such as `too_large`; it is empty for an event that is refused
    before it is published. `reason` is both in one line. A parked message carries it.
    """

    def __init__(self, detail: str, code: str = "") -> None:
        super().__init__(detail, code)
        self.detail = detail
        self.code = code
        self.reason = f"{code}: {detail}" if code else detail

    def __str__(self) -> str:
        return self.reason


class UnavailableError(RotaryError):
    """A server that Rotary depends on does not answer. Retry later.

    `public_message` is safe to show to a customer. `detail` is for operators: an address, the server's own message.
    `what` is both in one line.
    """

    def __init__(self, public_message: str, detail: str = "") -> None:
        what = f"{public_message}: {detail}" if detail else public_message
        super().__init__(what)
        self.public_message = public_message
        self.detail = detail
        self.what = what


class GroupNotFoundError(RotaryError):
    """This customer has no such group. Another customer's group raises the same error."""
