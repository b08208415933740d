"""Refusals: why a change of the definitions is not possible. Typed, so that a CLI and an API each phrase their own."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from msgspec import Struct

from rotary.errors import RotaryError

Code = Literal["not_found", "conflict", "invalid", "stale", "key_reused"]


class Violation(Struct, frozen=True):
    """One rule that a change breaks. `field` is the field's path, as in `caller_ids[0].carrier`; "" for the whole."""

    field: str
    detail: str


class RefusedError(RotaryError):
    """A change is refused and nothing was written.

    `code` is the kind of refusal, `violations` names every field and what is wrong with it; `field` and `detail` are
    those of the first.
    """

    code: ClassVar[Code]

    def __init__(self, *violations: Violation) -> None:
        super().__init__("; ".join(violation.detail for violation in violations))
        self.violations = violations

    @property
    def field(self) -> str:
        return self.violations[0].field

    @property
    def detail(self) -> str:
        return self.violations[0].detail


class InvalidError(RefusedError):
    """A value breaks a rule of its field."""

    code = "invalid"


class ConflictError(RefusedError):
    """The change contradicts what is stored, such as a number that the customer already has."""

    code = "conflict"


class StaleError(RefusedError):
    """The row is not in the version that the change was based on: somebody else has changed it since."""

    code = "stale"


class KeyReusedError(RefusedError):
    """An idempotency key was used within its time for another request."""

    code = "key_reused"


class NotFoundError(RefusedError):
    """A row that the change names does not exist.

    `hint` lists what exists. It may name rows of other customers: show it to operators, never to a customer.
    """

    code = "not_found"

    def __init__(self, field: str, detail: str, hint: str = "") -> None:
        super().__init__(Violation(field, detail))
        self.hint = hint


def named(names: Sequence[str], what: str, max_names: int) -> str:
    """What exists, as a clause: `the groups are 3 (A), 4 (B), …`; the list ends with … beyond `max_names`."""
    if not names:
        return f"there are no {what} yet"
    return f"the {what} are {', '.join(names[:max_names])}{', …' if len(names) > max_names else ''}"
